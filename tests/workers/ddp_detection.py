"""One rank of a gloo DDP training of FFC Faster R-CNN; run by torch.distributed.run.

    ddp_detection.py CONFIG OUT STEPS CASE

Rank 1 has images without objects throughout (CASE ``no_objects``), or besides never a proposal (``no_proposals``).
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch.nn.parallel import DistributedDataParallel

from ffc_dense.detection import add_ffc_config


def main(config: str, out: str, steps: str, case: str) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.set_num_threads(1)
    cfg = get_cfg()
    add_ffc_config(cfg)
    cfg.merge_from_file(config)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 32])
    cfg.merge_from_list(["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32])
    if rank == 1 and case == "no_proposals":
        cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 0
    torch.manual_seed(0)
    model = DistributedDataParallel(build_model(cfg), find_unused_parameters=False, broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    torch.manual_seed(rank)
    counts = dict(proposals=[], objects=[])
    model.module.roi_heads.box_predictor.register_forward_hook(
        lambda module, inputs, output: counts["proposals"].append(len(output[0]))
    )
    for _ in range(int(steps)):
        instances = Instances((64, 64))
        boxes = torch.tensor([[4.0, 4, 30, 30]]) if rank == 0 else torch.zeros(0, 4)
        instances.gt_boxes = Boxes(boxes)
        instances.gt_classes = torch.full((len(boxes),), 3)
        counts["objects"].append(len(boxes))
        with EventStorage():
            losses = model([{"image": torch.rand(3, 64, 64) * 255, "instances": instances}])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    filters = [p.grad.abs().sum().item() for name, p in model.named_parameters() if "filters" in name]
    torch.save({"weights": weights, "filters": filters, **counts}, Path(out) / f"{rank}.pth")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
