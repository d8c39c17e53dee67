"""The mean of all outputs by CUDA kernels: a form of :mod:`ffc_dense.method.fast.recomputed`.

The chain is one kernel that reads x and writes the weighted sum, and one that reads x and the sum's gradient; the
classifier is PyTorch's own product. Kept for backward: x and two fp32 numbers per position and filter. Correctness is
tested in Triton's interpreter; nothing was measured on a GPU. Arguments as of
:func:`ffc_dense.method.fast.recomputed.recomputed_mean`, shape shorthand as in ``fast/__init__.py``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import as_positions, empty_for
from .triton_kernels import backward_kernel, forward_kernel

# Numbers per tile of a map, whose neighbouring positions are read together. Larger tiles do not fit into the registers
# of 8 warps: tests/method/fast/test_triton_resources.py compiles the kernels.
MAP_TILE = 2048
PROGRAMS = 256  # where the number of multiprocessors is not known


def forward(x, weight, bias, affine, eps, weights, dim) -> tuple[Tensor, bool, list[Tensor]]:
    """The result, False, and mean and reciprocal deviation of every filter and position: (n, N * P) fp32 each."""
    source = as_positions(x, dim)
    total = empty_for(x, dim, x.shape[dim], weight.dtype)
    target = as_positions(total, dim)
    count = source.shape[0] * source.shape[1]
    mean, rstd = x.new_empty(2, len(eps), count, dtype=torch.float32)
    tile = _tile(source)
    forward_kernel[(_programs(x, count, tile["BLOCK_P"]),)](
        source, target, _stacked(affine), _on_device(eps, x), _on_device(weights, x), mean, rstd,
        count, source.shape[1], *source.stride(), *target.stride(), FILTERS=len(eps), **tile,
    )  # fmt: skip
    return _classify(total, weight, bias, dim), False, [mean, rstd]


def backward(grad, x, weight, bias, affine, eps, weights, dim, scaled, statistics, needed) -> list[Tensor | None]:
    """Gradients of x, weight, bias and each of ``affine`` where ``needed``."""
    source = as_positions(x, dim)
    total, grad_x = empty_for(x, dim, x.shape[dim], weight.dtype), empty_for(x, dim, x.shape[dim], x.dtype)
    target = as_positions(grad_x, dim)
    incoming = as_positions(grad, dim)
    # (N, P, C) laid out like the map, so that the kernel reads neighbouring positions together.
    grad_total = incoming @ weight if dim == -1 else (weight.t() @ incoming.transpose(1, 2)).transpose(1, 2)
    count = source.shape[0] * source.shape[1]
    tile = _tile(source)
    programs = _programs(x, count, tile["BLOCK_P"])
    partial = x.new_zeros(programs, len(affine), x.shape[dim], dtype=torch.float32)
    backward_kernel[(programs,)](
        source, grad_total, target, as_positions(total, dim), partial, _stacked(affine), _on_device(weights, x),
        *statistics, count, source.shape[1], *source.stride(), *grad_total.stride(), *target.stride(),
        FILTERS=len(eps), **tile,
    )  # fmt: skip
    grad_weight = None
    if needed[1]:
        grad_weight = (incoming.transpose(1, 2) @ as_positions(total, dim)).sum(0)
    grad_bias = incoming.sum((0, 1)).to(bias.dtype) if needed[2] else None
    found = [grad_x if needed[0] else None, grad_weight, grad_bias, *partial.sum(0)]
    return [value if need else None for value, need in zip(found, needed, strict=True)]


def _classify(total: Tensor, weight: Tensor, bias: Tensor | None, dim: int) -> Tensor:
    if dim == -1:
        return F.linear(total, weight, bias)
    return F.conv2d(total, weight[:, :, None, None], bias)


def _stacked(affine: list[Tensor]) -> Tensor:
    return torch.stack([parameter.detach().float() for parameter in affine])


def _on_device(numbers: list[float], x: Tensor) -> Tensor:
    """fp32 numbers where ``x`` is, without waiting for the device as a copy of pageable memory would."""
    host = torch.tensor(numbers, dtype=torch.float32)
    return host.pin_memory().to(x.device, non_blocking=True) if x.is_cuda else host


def _tile(source: Tensor) -> dict[str, int]:
    return tile(source.shape[2], features_adjacent=source.stride(2) == 1)


def tile(features: int, features_adjacent: bool) -> dict[str, int]:
    """The compile-time sizes of both kernels for C ``features``, which lie side by side in memory or not."""
    block_c = 1 << (features - 1).bit_length()
    if features_adjacent:  # one position is a whole read
        block_p = max(1, 1024 // block_c)
        warps = max(4, min(16, block_p * block_c // 512))
    else:
        block_p, warps = max(1, min(64, MAP_TILE // block_c)), 8
    return {"C": features, "BLOCK_P": block_p, "BLOCK_C": block_c, "num_warps": warps}


def _programs(x: Tensor, count: int, block_p: int) -> int:
    """About two programs for each multiprocessor: each has its own sums of the filters' gradients."""
    most = 2 * torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else PROGRAMS
    return max(1, min(most, -(-count // block_p)))
