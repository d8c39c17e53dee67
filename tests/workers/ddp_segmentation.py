"""One rank of a gloo DDP training of FFC PSPNet; run by torch.distributed.run.

    ddp_segmentation.py OUT STEPS

Every pixel of rank 1 is to be ignored (label 255) throughout. Wrapper and optimizer are those of mmengine's Runner.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine import ConfigDict
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ffc_dense.segmentation  # noqa: F401  (registers the heads)

K = 5
SIZE = (32, 48)
BACKBONE = dict(type="ResNetV1c", depth=18, stem_channels=8, base_channels=4, dilations=(1, 1, 2, 4),
                strides=(1, 2, 1, 1), norm_eval=False)  # fmt: skip


def build():
    common = dict(num_classes=K, norm_cfg=dict(type="BN"), align_corners=False, channels=8)
    head = dict(common, type="FFCPSPHead", in_channels=32, in_index=3, pool_scales=(1, 2))
    auxiliary = dict(common, type="FCNHead", in_channels=16, in_index=2, num_convs=1)
    model = dict(type="EncoderDecoder", backbone=BACKBONE, decode_head=head, auxiliary_head=auxiliary)
    preprocessor = SegDataPreProcessor(size=SIZE)
    return MODELS.build(dict(model, data_preprocessor=preprocessor, test_cfg=ConfigDict(mode="whole")))


def main(out: str, steps: str) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = MMDistributedDataParallel(build(), find_unused_parameters=False, broadcast_buffers=False).train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    filters = {name: p for name, p in model.named_parameters() if "filters" in name}
    initial = {name: p.detach().clone() for name, p in filters.items()}
    torch.manual_seed(rank)
    used = []
    for _ in range(int(steps)):
        labels = torch.randint(K, (2, 1, *SIZE)) if rank == 0 else torch.full((2, 1, *SIZE), 255)
        samples = [SegDataSample(metainfo=dict(ori_shape=SIZE, img_shape=SIZE), gt_sem_seg=PixelData(data=one))
                   for one in labels]  # fmt: skip
        model.train_step(dict(inputs=list(torch.rand(2, 3, *SIZE) * 255), data_samples=samples), optimizer)
        used.append(int((labels != 255).sum()))
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    changes = [(p.detach() - initial[name]).abs().sum().item() for name, p in filters.items()]
    torch.save({"weights": weights, "filters": changes, "labelled_pixels": used}, Path(out) / f"{rank}.pth")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
