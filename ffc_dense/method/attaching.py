"""Swap the classifier of any existing model for an FFC one, by name."""

from torch import nn

from .adapters import BASE
from .layers import FFCConv2d, FFCLinear


def attach(model: nn.Module, name: str, **options) -> nn.Module:
    """Replace the ``nn.Linear`` or 1x1 ``nn.Conv2d`` called ``name`` by its FFC version, in place.

    The new layer takes over the old one's parameters, so loaded weights and ties stay valid; the filters
    (``filters.{i}.*``) are new, start at weight 1 and bias 0, and are trainable. Attach before building the optimizer,
    which would not know them. A layer that the model holds under several names is replaced under all of them.
    Subclasses that compute what their stock layer does (timm's ``Linear``, detectron2's ``Conv2d`` without norm and
    activation) are taken too.

    Args:
        model: any module, of torchvision, timm, Hugging Face or your own.
        name: as in ``model.named_modules()``, e.g. ``'roi_heads.box_predictor.cls_score'``.
        **options: those of :class:`ffc_dense.FFCLinear`.

    Returns:
        ``model`` itself.

    Raises:
        TypeError: ``model`` is no module, ``name`` no string, or an option unknown.
        ValueError: there is no such layer, or it is no classifier; the message lists those that are.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"attach: model must be an nn.Module, got {model!r}")
    if not isinstance(name, str):
        raise TypeError(f"attach: name must be a string as in model.named_modules(), got {name!r}")
    places = dict(model.named_modules(remove_duplicate=False))
    layer = places.get(name) if name else None
    kind = _ffc_kind(layer)
    reason = kind.why_not(layer) if kind else ""
    if layer is None:
        reason = f"the model has no layer {name!r}"
    elif kind is None:
        kind_name = f"{type(layer).__module__}.{type(layer).__qualname__}"
        reason = f"{name!r} is a {kind_name}, not an nn.Linear or a 1x1 nn.Conv2d"
    elif _is_adapted(name):
        reason = f"{name!r} is inside an adapter: attach before it is put around the layers, and leave this one out"
    if reason:
        raise ValueError(f"attach: {reason}. {_candidates(places)}")
    ffc = kind.from_layer(layer, **options)
    for place, module in places.items():
        if module is layer:
            parent, _, child = place.rpartition(".")
            setattr(model.get_submodule(parent), child, ffc)
    return model


def _ffc_kind(layer):
    return FFCLinear if isinstance(layer, nn.Linear) else FFCConv2d if isinstance(layer, nn.Conv2d) else None


def _is_adapted(place: str) -> bool:
    return place.rpartition(".")[2] == BASE


def _candidates(places: dict[str, nn.Module]) -> str:
    names = []
    for place, module in places.items():
        kind = _ffc_kind(module)
        if place and kind and not _is_adapted(place) and not kind.why_not(module):
            names.append(place)
    if not names:
        return "It has no nn.Linear or 1x1 nn.Conv2d that could be replaced."
    shown = names[-20:]  # classifiers come last
    more = f" (the last {len(shown)} of {len(names)})" if len(names) > len(shown) else ""
    return f"Candidates{more}: {', '.join(shown)}"
