"""The test reductions of whole models: one checkpoint holds a score for each (paper Table 1)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from .layers import FFCConv2d, FFCLinear

STOCK = "stock"  # stands for the only result of a model without FFC classifier


def ffc_layers(model: nn.Module) -> list[FFCLinear | FFCConv2d]:
    """Every FFC classifier of ``model``, in the order of ``model.modules()``."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {model!r}")
    return [module for module in model.modules() if isinstance(module, FFCLinear | FFCConv2d)]


def choose_reductions(model: nn.Module, wanted: Sequence[str] = ()) -> list[str]:
    """The names of the reductions to evaluate ``model`` under.

    Args:
        wanted: 'vote', 'mean', 'out1' ... 'outM', or 'all' for every one of them. Empty: the model's own
            ``test_reduce``.

    Returns:
        The names, each once. ``['stock']`` for a model without FFC classifier.

    Raises:
        TypeError: ``model`` is no module, or ``wanted`` no sequence of names.
        ValueError: a name is none of the model's reductions, the model's classifiers differ in their own reduction and
            none was chosen, or a reduction was chosen for a stock model.
    """
    layers = ffc_layers(model)
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not all(isinstance(name, str) for name in wanted):
        raise TypeError(f"wanted must be a list of reductions' names, got {wanted!r}")
    if not layers:
        if wanted and set(wanted) != {STOCK}:
            raise ValueError(f"reduction {', '.join(wanted)}: the model has no FFC classifier, it has one output only")
        return [STOCK]
    valid = [name for name in layers[0].test_reductions if all(name in layer.test_reductions for layer in layers)]
    if not wanted:
        own = sorted({layer.test_reduce for layer in layers})
        if len(own) > 1:
            raise ValueError(f"the model's classifiers have different reductions ({', '.join(own)}): choose one")
        return own
    unknown = [name for name in wanted if name not in (*valid, "all")]
    if unknown:
        raise ValueError(f"unknown reduction {', '.join(map(repr, unknown))}; choose from all, {', '.join(valid)}")
    return valid if "all" in wanted else list(dict.fromkeys(wanted))


@contextmanager
def reduced(model: nn.Module, name: str) -> Iterator[None]:
    """Within the context every FFC classifier of ``model`` has ``test_reduce = name``; 'stock' changes nothing.

    Raises:
        ValueError: ``name`` is no reduction of one of the classifiers, or there is none.
    """
    layers = ffc_layers(model) if name != STOCK else []
    if not layers and name != STOCK:
        raise ValueError(f"reduction {name!r}: the model has no FFC classifier, it has one output only")
    before = [layer.test_reduce for layer in layers]
    try:
        for layer in layers:
            layer.test_reduce = name
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.test_reduce = own
