"""Train one segmentation run and keep the classifier's logits of every pixel of held-out and test images.

    python -m evidence.train_segmentation WORK TASK HEAD ITERATIONS SEED

``dump.pt`` is {"test": images, "heldout": images}. Of each image: ``label`` (H, W) uint8, ``logits`` (S, K, h, w) of
the stages, ``active`` and ``deviation`` (S, h, w), the share of units above zero and their standard deviation.
Shape shorthand: S stages, K classes, (h, w) the feature's size, (H, W) the image's.
"""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.models import BaseSegmentor
from torch import Tensor, nn

import ffc_dense.segmentation  # noqa: F401 (registers)

from . import segmentation_model  # noqa: F401 (registers)
from .finishing import CURVE_POINTS, command, finish
from .folders import ROOT, data, folder
from .learning_curve import LearningCurve
from .plan import HEADS, HELD_OUT_IMAGES, TEST_IMAGES, Run
from .score_segmentation import score

FILE = "{}_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
# The mini networks at half their width: about 0.13 s per iteration on one CPU core.
NARROW = {
    "model.backbone.base_channels": 16,
    "model.backbone.stem_channels": 16,
    "model.decode_head.in_channels": 128,
    "model.auxiliary_head.in_channels": 64,
}
PARTS = {
    "heldout": list(range(HELD_OUT_IMAGES)),
    "test": list(range(HELD_OUT_IMAGES, HELD_OUT_IMAGES + TEST_IMAGES)),
}


def config(work: Path, run: Run) -> Config:
    cfg = Config.fromfile(ROOT / "configs/mini_cityscapes" / FILE.format(run.task))
    root = str(data(work) / "mini_cityscapes")
    cfg.merge_from_dict({
        **NARROW,
        "work_dir": str(folder(work, run)),
        "resume": True,
        "randomness.seed": run.seed,
        "train_cfg.max_iters": run.iterations,
        "train_cfg.val_interval": run.iterations // CURVE_POINTS if run.is_main else run.iterations + 1,
        "param_scheduler.0.end": run.iterations,
        "default_hooks.checkpoint.interval": 100,
        "default_hooks.checkpoint.max_keep_ckpts": 1,
        "train_dataloader.dataset.data_root": root,
        "val_dataloader.dataset.data_root": root,
        "val_dataloader.dataset.indices": PARTS["heldout"],
    })  # fmt: skip
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    head = HEADS[run.head]
    if head.variant is not None:
        cfg.model.decode_head.type = f"Variant{cfg.model.decode_head.type}"
        cfg.model.decode_head.evidence = run.head
    if head.classifier_lr != 1:
        keys = {"decode_head.conv_seg": dict(lr_mult=head.classifier_lr)}
        cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=keys)
    if head.classifier_init != 1 or head.filter_decay is not None:
        raise ValueError(f"{run.head}: classifier_init and filter_decay exist only in detection")
    return cfg


@torch.no_grad()
def dump(model: BaseSegmentor, loader) -> list[dict]:
    model.eval()
    classifier, features, found = model.decode_head.conv_seg, [], []
    with classifier.register_forward_pre_hook(lambda layer, args: features.append(args[0])):
        for batch in loader:
            prepared = model.data_preprocessor(batch, False)
            model(prepared["inputs"], prepared["data_samples"], mode="tensor")
            feature = features.pop()
            stages, logits = stages_and_logits(classifier, feature)
            label = prepared["data_samples"][0].gt_sem_seg.data.squeeze(0).byte()
            active, deviation = (stages > 0).float().mean(1), stages.std(1)
            found.append(dict(label=label, logits=logits, active=active, deviation=deviation))
    return found


def stages_and_logits(classifier: nn.Conv2d, feature: Tensor) -> tuple[Tensor, Tensor]:
    """(1, C, h, w) -> (S, C, h, w) and (S, K, h, w)"""
    if not hasattr(classifier, "stage_logits"):
        return feature, nn.Conv2d.forward(classifier, feature)
    return torch.cat(classifier.filters(feature, -3)), torch.cat(classifier.stage_logits(feature))


def main(work: Path, run: Run) -> None:
    cfg = config(work, run)
    runner = Runner.from_cfg(cfg)
    if run.is_main:
        runner.register_hook(LearningCurve("mIoU"))
    runner.train()
    parts = {}
    for name, indices in PARTS.items():
        cfg.val_dataloader.dataset.indices = indices
        parts[name] = dump(runner.model, Runner.build_dataloader(cfg.val_dataloader))
    finish(work, run, runner.model, parts, score, "iter_*.pth")


if __name__ == "__main__":
    command(main)
