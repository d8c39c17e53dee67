"""Train one classification run and keep the classifier's logits of every held-out and test image.

    python -m evidence.train_classification WORK classification HEAD ITERATIONS SEED

``dump.pt`` is {"test": [entry], "heldout": [entry]}: ``labels`` (N,), ``logits`` (S, N, K) of the stages, ``active``
and ``deviation`` (S, N), the share of units above zero and their standard deviation. Shape shorthand: S stages, N
images, K classes.
"""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier
from torch import nn

from . import classification_model  # noqa: F401 (registers)
from .finishing import CURVE_POINTS, command, finish
from .folders import ROOT, data, folder
from .learning_curve import LearningCurve
from .plan import HEADS, Run
from .score_classification import score

FILE = "configs/mini_imagenet/resnet18_1xb32-504_mini-imagenet-64x64.py"


def config(work: Path, run: Run) -> Config:
    cfg = Config.fromfile(ROOT / FILE)
    root = str(data(work) / "mini_imagenet")
    cfg.merge_from_dict({
        "work_dir": str(folder(work, run)),
        "resume": True,
        "randomness.seed": run.seed,
        "train_cfg.max_iters": run.iterations,
        "train_cfg.val_interval": run.iterations // CURVE_POINTS if run.is_main else run.iterations + 1,
        "param_scheduler.0.end": run.iterations,
        "default_hooks.checkpoint.interval": 200,
        "default_hooks.checkpoint.max_keep_ckpts": 1,
        "default_hooks.checkpoint.save_best": None,
        "train_dataloader.dataset.data_root": root,
        "val_dataloader.dataset.data_root": root,
        "val_dataloader.dataset.indices": part(root, "heldout"),
    })  # fmt: skip
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    head = HEADS[run.head]
    if head.variant is not None:
        cfg.model.head.type, cfg.model.head.evidence = "VariantClsHead", run.head
    if head.classifier_lr != 1:  # for its weight and bias, not for the filters
        keys = {f"head.fc.{name}": dict(lr_mult=head.classifier_lr) for name in ("weight", "bias")}
        cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=keys)
    if head.classifier_init != 1 or head.filter_decay is not None:
        raise ValueError(f"{run.head}: classifier_init and filter_decay exist only in detection")
    return cfg


def part(root: str, name: str) -> list[int]:
    """Indices of val images: the held-out ones are every third, the test images all others."""
    count = len(list(Path(root, "val").glob("*/*")))
    return [i for i in range(count) if (i % 3 == 0) == (name == "heldout")]


@torch.no_grad()
def dump(model: ImageClassifier, loader) -> list[dict]:
    model.eval()
    classifier, found = model.head.fc, []
    for batch in loader:
        prepared = model.data_preprocessor(batch, False)
        feature = model.head.pre_logits(model.extract_feat(prepared["inputs"]))
        variant = hasattr(classifier, "stage_logits")
        stages = torch.stack(classifier.filters(feature)) if variant else feature.unsqueeze(0)
        logits = torch.stack(classifier.stage_logits(feature)) if variant else classifier(feature).unsqueeze(0)
        labels = torch.cat([sample.gt_label for sample in prepared["data_samples"]])
        found.append((logits, (stages > 0).float().mean(-1), stages.std(-1), labels))
    logits, active, deviation, labels = zip(*found, strict=True)
    return [dict(labels=torch.cat(labels), logits=torch.cat(logits, 1), active=torch.cat(active, 1),
                 deviation=torch.cat(deviation, 1))]  # fmt: skip


def trained(cfg: Config, run: Run) -> nn.Module:
    runner = Runner.from_cfg(cfg)
    if run.is_main:
        runner.register_hook(LearningCurve("accuracy/top1"))
    runner.train()
    return runner.model


def main(work: Path, run: Run) -> None:
    cfg = config(work, run)
    model, parts = trained(cfg, run), {}
    for name in ("test", "heldout"):
        cfg.val_dataloader.dataset.indices = part(cfg.val_dataloader.dataset.data_root, name)
        parts[name] = dump(model, Runner.build_dataloader(cfg.val_dataloader))
    finish(work, run, model, parts, score, "iter_*.pth")


if __name__ == "__main__":
    command(main)
