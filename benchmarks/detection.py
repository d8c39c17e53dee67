"""End to end in detectron2: Faster R-CNN R50-FPN and R50-C4 as in configs/coco, stock and FFC.

Weights and images are random: the time of an iteration does not depend on their content. The learning rate is zero, so
the models do not change. The RPN proposes its anchors: with random deltas nearly all proposals would collapse into the
image's corners and the box head would have no work. No box passes the score threshold at inference: with random scores
thousands or none would pass, by chance, and the code that follows (per-class NMS) is the same for both models.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import torch

from .memory import ROOT
from .timing import interleave
from .works import FFC, STOCK, Samples, Work

CONFIGS = {STOCK: "configs/coco/{}.yaml", FFC: "configs/coco/{}_ffc.yaml"}
NARROW = [  # for --quick
    "MODEL.RESNETS.WIDTH_PER_GROUP",
    8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS",
    32,
    "MODEL.RESNETS.STEM_OUT_CHANNELS",
    8,
    "MODEL.FPN.OUT_CHANNELS",
    16,
    "MODEL.ROI_BOX_HEAD.FC_DIM",
    16,
]
FPN, C4 = "faster_rcnn_R_50_FPN_1x", "faster_rcnn_R_50_C4_paper"


def works(quick: bool) -> list[Work]:
    """The lines of section 'end_to_end' that need detectron2."""
    found = []
    for device, bar, batch, image in (("cpu", 1.05, 1, (416, 608)), ("cuda", 1.02, 2, (800, 1216))):
        image = (64, 96) if quick else image
        # R50-C4 runs its res5 on every proposal: the 300 of its config take too long on a CPU.
        proposals = {FPN: 10, C4: 2} if quick else {FPN: 1000, C4: 100 if device == "cpu" else 300}
        size = f"{image[0]}x{image[1]}"
        for name, config, training in (
            (f"Faster R-CNN R50-FPN, training iteration, batch {batch}, {size}", FPN, True),
            (f"Faster R-CNN R50-FPN, inference, {size}, {proposals[FPN]} proposals", FPN, False),
            (f"Faster R-CNN R50-C4, inference, {size}, {proposals[C4]} proposals", C4, False),
        ):
            measure = partial(measure_model, config, training, batch, image, proposals[config], device, quick)
            found.append(Work("end_to_end", name, device, "time", {STOCK: bar}, measure, ("detectron2",)))
    return found


@lru_cache(maxsize=1)  # training and inference follow each other: one pair of models in memory
def models(config: str, device: str, proposals: int, quick: bool) -> dict[str, tuple]:
    """{candidate: (model, optimizer)}, with the same weights wherever the two models have the same parameter."""
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model
    from detectron2.solver import build_optimizer

    from ffc_dense.detection import add_ffc_config

    found = {}
    for name, path in CONFIGS.items():
        cfg = get_cfg()
        add_ffc_config(cfg)
        cfg.merge_from_file(str(ROOT / path.format(config)))
        cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = device, ""
        cfg.MODEL.RPN.POST_NMS_TOPK_TEST = proposals
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 2.0
        cfg.SOLVER.BASE_LR = 0.0
        if quick:
            cfg.merge_from_list(NARROW)
        torch.manual_seed(0)
        model = build_model(cfg)
        torch.nn.init.zeros_(model.proposal_generator.rpn_head.anchor_deltas.weight)
        found[name] = (model, build_optimizer(cfg, model))
    return found


def samples(batch: int, image: tuple[int, int], classes: int) -> list[dict]:
    """Images of noise with ten boxes each, as detectron2's data loader gives them."""
    from detectron2.structures import Boxes, Instances

    torch.manual_seed(0)
    height, width = image
    found = []
    for _ in range(batch):
        corner = torch.rand(10, 2) * torch.tensor([width * 0.6, height * 0.6])
        size = torch.rand(10, 2) * torch.tensor([width * 0.3, height * 0.3]) + 8
        instances = Instances(
            image, gt_boxes=Boxes(torch.cat([corner, corner + size], 1)), gt_classes=torch.randint(classes, (10,))
        )
        pixels = torch.randint(256, (3, height, width), dtype=torch.uint8)
        found.append(dict(image=pixels, instances=instances, height=height, width=width))
    return found


def measure_model(config, training: bool, batch: int, image, proposals: int, device: str, quick: bool) -> Samples:
    from detectron2.utils.events import EventStorage

    pair = models(config, device, proposals, quick)
    data = samples(batch if training else 1, image, 80)
    calls = {name: partial(iterate if training else infer, *pair[name], data) for name in (STOCK, FFC)}
    with EventStorage():  # the model logs into it
        return interleave(calls, device, seconds=40, rounds=1 if quick else None)


def iterate(model, optimizer, data: list[dict]) -> None:
    """One training iteration, as in detectron2's ``SimpleTrainer``."""
    model.train()
    loss = sum(model(data).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def infer(model, optimizer, data: list[dict]) -> Callable:
    return model.eval()(data)
