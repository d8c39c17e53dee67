"""Parameters and FLOPs of a model, counted by mmengine's analysis tools."""

import re

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.config import Config
from torch import nn

from ...inspection.cost import Classifier, Count, record_inputs


def gpus_and_batch(path: str, cfg: Config) -> tuple[int, int]:
    """(GPUs, images on each): the number of GPUs stands in the config's name alone (4xb2: 4 with 2 each).

    Raises:
        ValueError: the name has no such part, or another batch than the config.
    """
    named = re.search(r"_(\d+)xb(\d+)-", path)
    batch = cfg.train_dataloader.batch_size
    if not named or int(named[2]) != batch:
        raise ValueError(f"{path}: expected GPUSxbBATCH in the name, with train_dataloader.batch_size={batch}")
    return int(named[1]), int(named[2])


@torch.no_grad()
def count_model(model: nn.Module, name: str, shape: tuple[int, ...]) -> Count:
    """Count a model in eval mode, in the mode 'tensor', for one image or clip of ``shape``, (C, H, W) or (C, T, H, W).

    Args:
        name: of the classifier, as in ``model.named_modules()``.
    """
    layer = model.get_submodule(name)
    shapes = record_inputs({name: layer})
    analysis = _quiet(FlopAnalyzer(model, torch.rand(1, *shape)))
    total = analysis.total()
    classifier = Classifier.of(name, layer, shapes[name], analysis.by_module()[name], layer_flops)
    return Count(parameter_count(model)[""], total, [classifier])


def layer_flops(layer: nn.Module, features: torch.Tensor) -> int:
    """FLOPs of one layer alone, by the same counter as the model's."""
    return _quiet(FlopAnalyzer(layer, features)).total()


def _quiet(analysis: FlopAnalyzer) -> FlopAnalyzer:
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
