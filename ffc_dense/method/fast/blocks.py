"""Rows and NCHW maps seen as positions, cut into blocks. Shape shorthand as in ``fast/__init__.py``."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from . import devices, threads

CPU_BLOCK_BYTES = 1024 * 1024  # of one stage, in one thread; smaller ones fit the cache better but cost more calls
PADDING = 16  # numbers; rows that lie a power of two apart would share few cache lines while they are transposed


def is_channels_last(x: Tensor, dim: int) -> bool:
    """Whether the features of a map (N, C, H, W) lie side by side in memory."""
    return dim == -3 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def as_positions(x: Tensor, dim: int) -> Tensor:
    """(..., C) or (N, C, H, W), with the features along ``dim`` -> (N, P, C); a view wherever the strides allow it."""
    if dim == -1:
        return x.reshape(1, -1, x.shape[-1])
    return x.flatten(2).transpose(1, 2)


def empty_for(x: Tensor, dim: int, features: int, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor like ``x`` with ``features`` in the place of C, laid out as a stock layer's result."""
    shape = list(x.shape)
    shape[dim] = features
    layout = torch.channels_last if is_channels_last(x, dim) else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=layout)


def block_size(x: Tensor, num_features: int, num_classes: int, itemsize: int) -> int:
    """Positions per block. A wide classifier gets at least K / 2 of them, else reading its weight would dominate.

    On a GPU a block bounds the memory; half a chunk, because backward holds about five stages of it.
    """
    on_cpu = devices.is_cpu(x)
    room = CPU_BLOCK_BYTES if on_cpu else devices.chunk_bytes(x.device) // 2
    return max(room // (itemsize * num_features), num_classes // 2, 1)


def blocks(positions: Tensor, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of (N, P) that cover ``positions`` (N, P, C) in order, each of about ``size`` positions."""
    images, per_image = positions.shape[:2]
    if per_image == 0:
        return
    step = max(1, size // per_image)
    for n in range(0, images, step):
        for p in range(0, per_image, size):
            yield slice(n, min(n + step, images)), slice(p, min(p + size, per_image))


def for_pieces(x: Tensor, work: Callable[[Sequence], Any], cut: list) -> list:
    """What ``work`` gives for each piece of the blocks ``cut``: on the CPU several threads' pieces, elsewhere one."""
    return threads.run(work, threads.pieces(cut)) if devices.is_cpu(x) else [work(cut)]


def load(block: Tensor, dtype: torch.dtype) -> Tensor:
    """A block (n, p, C) of any strides and dtype -> rows (m, C) of ``dtype``, contiguous; a view if it is that."""
    features = block.shape[2]
    if block.dtype == dtype and block.is_contiguous():
        return block.view(-1, features)
    stride = block.stride(2) * block.element_size()
    if block.stride(1) == 1 and stride % 1024 == 0 and features > 1:
        padded = block.new_empty(block.shape[0], features, block.shape[1] + PADDING)[..., :-PADDING].transpose(1, 2)
        block = padded.copy_(block)
    rows = block.new_empty(block.shape, dtype=dtype)
    return rows.copy_(block).view(-1, features)


def store(rows: Tensor, block: Tensor) -> None:
    """Copy rows (m, C), contiguous but for their row stride, into a block (n, p, C) of any strides and dtype."""
    block.copy_(rows.unflatten(0, block.shape[:2]))
