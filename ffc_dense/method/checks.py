"""Checks of the core's arguments: types, shapes and dtypes, never the numbers of a tensor, which would cost time."""

from numbers import Integral

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def check_feature(name: str, value: Tensor) -> None:
    """Raise a TypeError unless ``value`` is a dense tensor of 16, 32 or 64 bit floating-point numbers."""
    if not isinstance(value, Tensor):
        hint = ": torch.stack makes one of a list of tensors" if isinstance(value, list | tuple) else ""
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}{hint}")
    if value.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got one of layout {value.layout}")
    if value.is_quantized:
        raise TypeError(
            f"{name} must be floating point, got {value.dtype}: FFC is not quantized. Set its qconfig to None before "
            "prepare(), and dequantize what it gets (torch.ao.quantization.DeQuantStub)"
        )
    check_dtype(name, value.dtype)


def check_dtype(name: str, dtype: torch.dtype | None) -> None:
    """Raise a TypeError unless ``dtype`` is one of ``FLOATING``, or None, which stands for torch's default."""
    if dtype is not None and dtype not in FLOATING:
        names = ", ".join(str(each).removeprefix("torch.") for each in FLOATING)
        raise TypeError(f"{name} must be floating point ({names}), got {dtype}")


def check_integer(name: str, value: int, minimum: int, maximum: int | None = None) -> None:
    """Raise a ValueError unless ``value`` is an integer in the range; True and False are none."""
    inside = is_integer(value) and minimum <= value and (maximum is None or value <= maximum)
    if not inside:
        wanted = f">= {minimum}" if maximum is None else f">= {minimum} and <= {maximum}"
        raise ValueError(f"{name} must be an integer {wanted}, got {value!r}")


def check_dim(name: str, dim: int) -> None:
    """Raise a TypeError unless ``dim`` is an integer; its range is the caller's business."""
    if not is_integer(dim):
        raise TypeError(f"{name} must be an integer, got {dim!r}")


def check_bool(name: str, value: bool) -> None:
    """Raise a ValueError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def is_integer(value) -> bool:
    """Whether ``value`` is an integer of Python, NumPy or a traced size, and no truth value."""
    return isinstance(value, Integral | torch.SymInt) and not isinstance(value, bool)
