"""What the exports of every framework on mmengine share."""

from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope
from torch import nn

from ...method.reductions import choose_reductions, ffc_layers
from ..inputs.checkpoint import load_for_evaluation


def build_to_export(cfg: Config, models: Registry, checkpoint: str, reduction: str | None) -> tuple[nn.Module, str]:
    """The model of a config in eval mode with the weights of a checkpoint, and its test mode.

    Args:
        models: the framework's registry; its scope becomes the default one.
        reduction: a test mode, see :func:`ffc_dense.method.reductions.choose_reductions`; None: the config's own.
    """
    init_default_scope(models.scope)
    model = models.build(cfg.model).eval()
    load_for_evaluation(model, checkpoint)
    (name,) = choose_reductions(model, [reduction] if reduction else [])
    for layer in ffc_layers(model):
        layer.test_reduce = name
    return model, name
