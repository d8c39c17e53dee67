"""Parameters and FLOPs of an mmpretrain config, counted by mmengine's analysis tools, as in the other adapters."""

import copy

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import ffc_dense.openmmlab.inputs.safe_loading  # noqa: F401  (mmengine runs nothing that it reads)
from ffc_dense.inspection.cost import Count
from ffc_dense.openmmlab.commands.overhead import count_model, gpus_and_batch

TRAINING = {"ImageNet": 1_281_167, "HMDB51": 3_570}  # images, or videos of a split

# What the paper says of stock models, GFLOPs (Tables 2 and 3).
PAPER = {
    "resnet50": 3.86, "resnet101": 7.57, "resnext50-32x4d": 3.77, "resnext101-32x4d": 7.50, "seresnet50": 3.87,
    "srmresnet50": 3.88,
}  # fmt: skip


def resolved(path: str) -> tuple[str, str]:
    """(what the model and its input depend on, the input size in words): equal configs are counted once."""
    cfg = Config.fromfile(path)
    model = cfg.model.to_dict()
    parts = {name: model[name] for name in ("backbone", "neck", "head")}
    parts["head"].pop("loss", None)
    return f"{parts}{input_size(cfg)}", "x".join(map(str, input_size(cfg)))


def schedule(path: str) -> dict:
    """Length and batch of the training; see :func:`gpus_and_batch`. An epoch ends with a smaller batch."""
    cfg = Config.fromfile(path)
    gpus, batch = gpus_and_batch(path, cfg)
    epoch = -(-TRAINING.get(cfg.train_dataloader.dataset.type, 0) // (gpus * batch))
    iterations = cfg.train_cfg.get("max_iters") or cfg.train_cfg.max_epochs * epoch
    return {"iterations": iterations, "images_per_iteration": gpus * batch}


def input_size(cfg: Config) -> tuple[int, ...]:
    """(height, width) of the crop that the config tests on, or else trains on; before them the frames of a clip."""
    dataset = cfg.test_dataloader.dataset
    steps = [*dataset.pipeline, *cfg.train_dataloader.dataset.pipeline]
    sizes = (step.get("crop_size") or step.get("size") for step in steps if step.type.endswith("Crop"))
    side = next(size for size in sizes if size)
    return (*([dataset.clip_length] if "clip_length" in dataset else []), side, side)


def count(path: str) -> Count:
    """Count the model of a config in eval mode, for one image or clip of :func:`input_size`, on the CPU."""
    torch.manual_seed(0)
    cfg = Config.fromfile(path)
    return count_model(build(cfg.model), "head.fc", (cfg.model.backbone.get("in_channels", 3), *input_size(cfg)))


def build(model: dict) -> nn.Module:
    init_default_scope("mmpretrain")
    return MODELS.build(copy.deepcopy(model)).eval()


@torch.no_grad()
def multiply_adds_by_stride(path: str) -> dict[str, int] | None:
    """Multiply-adds of convolutions and linear layers with the stride in the blocks' 3x3 and in their 1x1 convolution.

    Torch's counter, which counts nothing else. None for a network without bottlenecks, where there is no such choice.
    """
    cfg = Config.fromfile(path)
    if cfg.model.backbone.depth < 50:
        return None
    found = {}
    for name, style in (("3x3", "pytorch"), ("1x1", "caffe")):
        cfg.model.backbone.style = style
        model = build(cfg.model).to("meta")  # shapes alone are counted
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, *input_size(cfg), device="meta"))
        found[name] = counter.get_total_flops() // 2
    return found
