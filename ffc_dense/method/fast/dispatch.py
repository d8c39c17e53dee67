"""Chooses the form that computes the mean of the outputs. Shape shorthand as in ``fast/__init__.py``."""

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from ..filtering import FeatureFilter, stage_weights
from . import blocked
from .backend import get_backend
from .recomputed import recomputed_mean
from .triton_support import MAX_FEATURES, is_interpreted

SMALL = 128 * 1024  # elements of the input below which blocks save nothing and the composite form is as fast
_PLAIN = (Tensor, nn.Parameter)
_BLOCKED_DEVICES = ("cpu", "cuda")  # where the blocked form is the default for large inputs
_OLD_TORCH = not hasattr(torch, "get_autocast_dtype")  # before 2.4


def fast_mean(
    x: Tensor, weight: Tensor, bias: Tensor | None, filters: FeatureFilter, interpolate: bool, dim: int
) -> Tensor | None:
    """The mean of the outputs by the form that :func:`ffc_dense.set_backend` chose; None if it is the composite one.

    Args:
        x: (..., C) with ``dim`` -1, or (C, H, W) or (N, C, H, W) with ``dim`` -3.
        weight: (K, C) or (K, C, 1, 1).
        bias: (K,) or None.

    Returns:
        (..., K) or (..., K, H, W), of the dtype that the stock layer's result has.
    """
    backend, arguments = _prepare(x, weight, bias, filters, dim)
    if backend == "composite":
        return None
    form: ModuleType = blocked
    if backend == "triton":
        form = import_module(f"{__package__}.triton_mean")  # imports Triton
    result = recomputed_mean(form, **arguments, weights=stage_weights(len(filters), interpolate), dim=dim)
    return result[0] if _is_one_map(x, dim) else result


def fast_stage_logits(
    x: Tensor, weight: Tensor, bias: Tensor | None, filters: FeatureFilter, dim: int
) -> list[Tensor] | None:
    """The logits of F_1 ... F_n where no gradient is wanted and the blocked form is the chosen one; else None.

    Arguments and shape of each result as of :func:`fast_mean`.
    """
    if torch.is_grad_enabled():
        return None
    backend, arguments = _prepare(x, weight, bias, filters, dim)
    if backend != "blocked":
        return None
    with torch.autocast(x.device.type, enabled=False):
        results = blocked.stage_logits(**arguments, dim=dim)
    return [result[0] for result in results] if _is_one_map(x, dim) else results


def _prepare(
    x: Tensor, weight: Tensor, bias: Tensor | None, filters: FeatureFilter, dim: int
) -> tuple[str, dict[str, Any]]:
    """The form, and if it is not the composite one: x, weight, bias, affine and eps as a form takes them."""
    affine = [parameter for norm in filters for parameter in (norm.weight, norm.bias)]
    backend = _choose(x, [weight, *([] if bias is None else [bias]), *affine], filters, dim)
    if backend == "composite":
        return backend, {}
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
    else:
        dtype = x.dtype
        if not weight.dtype == dtype == (dtype if bias is None else bias.dtype):
            return "composite", {}  # the stock layer says what it thinks of mixed dtypes
    return backend, dict(
        x=x[None] if _is_one_map(x, dim) else x,
        weight=weight.flatten(1).to(dtype),
        bias=None if bias is None else bias.to(dtype),
        affine=affine,
        eps=[norm.eps for norm in filters],
    )


def _is_one_map(x: Tensor, dim: int) -> bool:
    return dim == -3 and x.dim() == 3


def _choose(x: Tensor, parameters: list[Tensor], filters: FeatureFilter, dim: int) -> str:
    backend = get_backend()
    if backend == "composite" or _is_recorded() or x.numel() == 0 or not len(filters):
        return "composite"
    if not all(_is_plain(tensor) and tensor.device == x.device for tensor in (x, *parameters)):
        return "composite"
    # Whoever looks at the stages, by a hook or a subclass, must see them.
    if type(filters) is not FeatureFilter or filters._forward_hooks or filters._forward_pre_hooks:
        return "composite"
    if backend == "triton" and (x.is_cuda or (is_interpreted() and x.device.type == "cpu")):
        return "triton" if x.dtype != torch.float64 and x.shape[dim] <= MAX_FEATURES else "composite"
    if x.device.type == "meta":
        return "composite"
    if backend != "blocked" and (x.device.type not in _BLOCKED_DEVICES or x.numel() < SMALL):
        return "composite"
    return "blocked"


def _is_plain(tensor: Tensor) -> bool:
    """Whether nothing but torch sees what happens to ``tensor``; a fake one of a device is treated as its real one."""
    # The form for the CPU looks at the data, which a fake does not have.
    return type(tensor) in _PLAIN or (type(tensor) is FakeTensor and tensor.device.type not in ("cpu", "meta"))


def _is_recorded() -> bool:
    """Whether operators are traced or transformed now, which a function with its own backward would hide."""
    return (
        _OLD_TORCH
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )
