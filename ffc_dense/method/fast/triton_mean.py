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

TILE = 8 * 1024  # numbers per tile of a map, whose neighbouring positions must be read together; twice as many spill
MAX_PROGRAMS = 512  # each has its own sums of the filters' gradients


def forward(x, weight, bias, affine, eps, weights, dim) -> tuple[Tensor, bool, list[Tensor]]:
    """The result, False, and mean and reciprocal deviation of every filter and position: (n, N * P) fp32 each."""
    source = as_positions(x, dim)
    total = empty_for(x, dim, x.shape[dim], weight.dtype)
    target = as_positions(total, dim)
    count = source.shape[0] * source.shape[1]
    mean, rstd = x.new_empty(2, len(eps), count, dtype=torch.float32)
    tile = _tile(source)
    forward_kernel[(_programs(count, tile["BLOCK_P"]),)](
        source, target, _stacked(affine), x.new_tensor(eps, dtype=torch.float32),
        x.new_tensor(weights, dtype=torch.float32), mean, rstd,
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
    programs = _programs(count, tile["BLOCK_P"])
    partial = x.new_zeros(programs, len(affine), x.shape[dim], dtype=torch.float32)
    backward_kernel[(programs,)](
        source, grad_total, target, as_positions(total, dim), partial, _stacked(affine),
        x.new_tensor(weights, dtype=torch.float32), *statistics,
        count, source.shape[1], *source.stride(), *grad_total.stride(), *target.stride(), FILTERS=len(eps), **tile,
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


def _tile(source: Tensor) -> dict[str, int]:
    features = source.shape[2]
    block_c = 1 << (features - 1).bit_length()
    # Features side by side: one position is a whole read. Positions side by side: as many as the registers hold.
    block_p = max(1, 1024 // block_c) if source.stride(2) == 1 else max(4, min(64, TILE // block_c))
    warps = max(4, min(16, block_p * block_c // 1024))
    return {"C": features, "BLOCK_P": block_p, "BLOCK_C": block_c, "num_warps": warps}


def _programs(count: int, block_p: int) -> int:
    return max(1, min(MAX_PROGRAMS, -(-count // block_p)))
