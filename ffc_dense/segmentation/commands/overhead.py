"""Parameters and FLOPs of an mmseg config, counted by mmengine's analysis tools."""

import re

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch import nn

import ffc_dense.openmmlab.inputs.safe_loading  # noqa: F401  (registers the heads; mmengine runs nothing that it reads)
from ffc_dense.inspection.cost import Classifier, Count, record_inputs

# Config.fromfile, and not read_config: the files are this repository's own, which tests/configs/test_configs.py checks.


def resolved(path: str) -> tuple[str, str]:
    """(what the model and its input depend on, the input size in words): equal configs are counted once."""
    cfg = Config.fromfile(path)
    return f"{cfg.model.to_dict()}{input_size(cfg)}", "x".join(map(str, input_size(cfg)))


def schedule(path: str) -> dict:
    """Length and batch of the training; the number of GPUs stands in the config's name alone (4xb2: 4 with 2 each).

    Raises:
        ValueError: the name has no such part, or another batch than the config.
    """
    cfg = Config.fromfile(path)
    named = re.search(r"_(\d+)xb(\d+)-", path)
    batch = cfg.train_dataloader.batch_size
    if not named or int(named[2]) != batch:
        raise ValueError(f"{path}: expected GPUSxbBATCH in the name, with train_dataloader.batch_size={batch}")
    return {"iterations": cfg.train_cfg.max_iters, "images_per_iteration": int(named[1]) * int(named[2])}


def input_size(cfg: Config) -> tuple[int, int]:
    """(height, width): the crop that the config trains on, which is also the window of slide inference."""
    return tuple(cfg.crop_size)


@torch.no_grad()
def count(path: str) -> Count:
    """Count the model of a config in eval mode, for one image of :func:`input_size`, on the CPU.

    As in mmseg's ``get_flops.py`` the forward pass is mode 'tensor': it ends with the head's map of logits, before
    the resize to the image. Parameters include the auxiliary head, which that tool removes.
    """
    torch.manual_seed(0)
    cfg = Config.fromfile(path)
    register_all_modules(init_default_scope=False)
    init_default_scope("mmseg")
    cfg.model.pretrained = None
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    layer = model.decode_head.conv_seg
    shapes = record_inputs({"decode_head": layer})
    analysis = _quiet(FlopAnalyzer(model, torch.rand(1, 3, *input_size(cfg))))
    total = analysis.total()
    in_model = analysis.by_module()["decode_head.conv_seg"]
    classifier = Classifier.of("decode_head.conv_seg", layer, shapes["decode_head"], in_model, layer_flops)
    return Count(parameter_count(model)[""], total, [classifier])


def layer_flops(layer: nn.Module, features: torch.Tensor) -> int:
    """FLOPs of one layer alone, by the same counter as the model's."""
    return _quiet(FlopAnalyzer(layer, features)).total()


def _quiet(analysis: FlopAnalyzer) -> FlopAnalyzer:
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
