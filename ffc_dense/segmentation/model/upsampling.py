"""Bilinear resizing strip by strip, for maps that together need too much memory at their new size.

Shape shorthand: K channels, (h, w) the maps' size, (H, W) the size asked for.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...method.checks import check_bool, check_feature, check_integer, is_integer
from ...method.fast import devices, threads

STRIP_ELEMENTS = 2**20  # on a CPU, 4 MiB in fp32: three rows of 7 outputs x 19 classes x 2048 columns


def bilinear_strips(
    maps: Tensor, size: tuple[int, int], align_corners: bool, strip_elements: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The rows of ``F.interpolate(maps, size, mode='bilinear', align_corners=align_corners)``, a few at a time.

    Each strip has as many rows as ``strip_elements`` allow, at least one. If all fit into one, ``F.interpolate`` itself
    is called. Otherwise the strips on CPU have the products, the sums and the fused multiply-adds of torch's kernel for
    contiguous maps, and usually its bits. Its other kernels (``channels_last``, narrow maps, other versions) and those
    of other devices may order or fuse them otherwise, which shows in the last places. No gradient flows, and on other
    devices than the CPU nothing waits for the device.

    Args:
        maps: (..., K, h, w), floating point, any number of leading dimensions; K, h and w at least 1.
        size: (H, W), at least 1 each.
        align_corners: as in ``F.interpolate``.
        strip_elements: how many numbers a strip may hold, at least 1; by default STRIP_ELEMENTS on a CPU, on
            other devices what :func:`ffc_dense.method.fast.devices.chunk_bytes` allows.

    Yields:
        rows: slice of the H rows, from top to bottom.
        strip: (..., K, rows, W), of the dtype of ``maps``.

    Raises:
        TypeError, ValueError: an argument is not as described; at the call, not at the first strip.
    """
    check_feature("maps", maps)
    if maps.dim() < 3 or 0 in maps.shape[-3:]:
        raise ValueError(f"maps must be (..., K, h, w) with K, h and w of at least 1, got shape {tuple(maps.shape)}")
    two_sizes = isinstance(size, tuple | list) and len(size) == 2 and all(map(is_integer, size))
    if not (two_sizes and min(size) >= 1):
        raise ValueError(f"size must be (H, W), two integers of at least 1, got {size!r}")
    check_bool("align_corners", align_corners)
    if strip_elements is not None:
        check_integer("strip_elements", strip_elements, 1)
    if strip_elements is None:
        strip_elements = default_elements(maps)
    return _strips(maps.detach(), tuple(size), align_corners, strip_elements)


def default_elements(maps: Tensor) -> int:
    """How many numbers a strip of ``maps`` holds by default."""
    if devices.is_cpu(maps):
        return STRIP_ELEMENTS
    return max(1, devices.chunk_bytes(maps.device) // torch.promote_types(maps.dtype, torch.float32).itemsize)


def strips_in_pieces(maps: Tensor, size: tuple[int, int], align_corners: bool) -> list[Iterator[tuple[slice, Tensor]]]:
    """The strips of :func:`bilinear_strips` as several iterators in order, each for a thread of its own.

    A strip holds until the next one of its iterator, which is written into the same memory.
    """
    strips = _rows(maps, size, STRIP_ELEMENTS)
    if len(strips) == 1 or maps.shape[-2:] == size or not devices.is_cpu(maps):
        return [_strips(maps.detach(), size, align_corners, STRIP_ELEMENTS)]
    exact = not _rounds_weights(maps, size)
    return [_added_strips(maps.detach(), size, align_corners, piece, exact, True) for piece in threads.pieces(strips)]


def _rows(maps: Tensor, size: tuple[int, int], strip_elements: int) -> list[slice]:
    """Of every strip."""
    height, width = size
    count = max(1, strip_elements // max(1, maps.shape[:-2].numel() * width))
    return [slice(y, min(y + count, height)) for y in range(0, height, count)]


def _strips(maps, size, align_corners, strip_elements) -> Iterator[tuple[slice, Tensor]]:
    every_strip = _rows(maps, size, strip_elements)
    if len(every_strip) == 1:
        whole = F.interpolate(_images(maps), size, mode="bilinear", align_corners=align_corners)
        yield slice(0, size[0]), whole.view(*maps.shape[:-2], *size)
    elif maps.shape[-2:] == size:
        yield from ((rows, maps[..., rows, :]) for rows in every_strip)
    elif devices.is_cpu(maps):
        yield from _added_strips(maps, size, align_corners, every_strip, not _rounds_weights(maps, size))
    else:
        yield from _gathered_strips(maps, size, align_corners, every_strip[0].stop)


def _added_strips(
    maps, size, align_corners, every_strip, exact_weights, reuse: bool = False
) -> Iterator[tuple[slice, Tensor]]:
    """The strips row by row in few passes, for a CPU's cache."""
    leading, (h, w), (height, width) = maps.shape[:-2], maps.shape[-2:], size
    left, right, left_weight, right_weight = _taps(w, width, align_corners, maps, exact_weights)
    lines = _taps(h, height, align_corners, maps, exact_weights)
    above, below, above_weight, below_weight = (each.tolist() for each in lines)
    widened: dict[int, Tensor] = {}  # source row -> (..., K, W); neighbouring strips share some
    memory = None
    for rows in every_strip:
        needed = sorted({*above[rows], *below[rows]})
        widened = {row: widened[row] for row in needed if row in widened}
        for row in needed:
            if row not in widened:
                source = maps[..., row, :].to(left_weight.dtype).reshape(-1, w)  # 2D: index_select is fast there
                widened[row] = source.index_select(1, right).mul_(right_weight)
                widened[row].addcmul_(source.index_select(1, left), left_weight)
        if memory is None or not reuse:
            memory = left_weight.new_empty(rows.stop - rows.start, leading.numel(), width)
        strip = memory[: rows.stop - rows.start]
        for line, y in zip(strip, range(rows.start, rows.stop), strict=True):
            torch.mul(widened[below[y]], below_weight[y], out=line)
            line.add_(widened[above[y]], alpha=above_weight[y])
        yield rows, strip.to(maps.dtype).view(-1, *leading, width).movedim(0, -2)


def _gathered_strips(maps, size, align_corners, rows_per_strip) -> Iterator[tuple[slice, Tensor]]:
    """The strips by a few large operations each, for devices that take long to start one."""
    leading, (h, w), (height, width) = maps.shape[:-2], maps.shape[-2:], size
    # A strip is added up from two gathered ones and the widened source rows, up to four more than their share.
    room = int((2.3 * rows_per_strip - 4) / (2 + h / height))
    rows_per_strip = max(1, min(rows_per_strip, room))
    dtype = torch.promote_types(maps.dtype, torch.float32)
    planes = maps.reshape(-1, h, w)
    columns, lines = (_device_taps(*axis, align_corners, dtype, maps.device) for axis in ((w, width), (h, height)))
    scale = _scale(h, height, align_corners)
    for start in range(0, height, rows_per_strip):
        rows = slice(start, min(start + rows_per_strip, height))
        # The source rows that it needs. The device rounds positions for itself: one more on either side.
        shift = 0 if align_corners else 0.5
        first = min(h - 1, max(0, int((rows.start + shift) * scale - shift) - 1))
        stop = min(h, int((rows.stop - 1 + shift) * scale - shift) + 3)
        above, below, *weights = (each[rows] for each in lines)
        wide = _between(planes[:, first:stop].to(dtype), 2, *columns)
        strip = _between(wide, 1, above - first, below - first, *(each.unsqueeze(1) for each in weights))
        del wide
        strip = strip.to(maps.dtype).view(*leading, -1, width)
        yield rows, strip
        del strip


def _between(x: Tensor, dim: int, first: Tensor, second: Tensor, first_weight: Tensor, second_weight: Tensor) -> Tensor:
    return x.index_select(dim, first).mul_(first_weight).addcmul_(x.index_select(dim, second), second_weight)


def _device_taps(source: int, target: int, align_corners: bool, dtype: torch.dtype, device: torch.device):
    """For every target position its two source positions and their weights, computed where they are used."""
    scale, position = _scale(source, target, align_corners), torch.arange(target, dtype=dtype, device=device)
    if align_corners:
        position = position * scale
    else:  # one rounding, as in torch's kernels: a fused multiply-add
        position = torch.full_like(position, -0.5).add_(position + 0.5, alpha=scale).clamp_(min=0)
    first = position.floor().clamp_(max=source - 1)
    weight = (position - first).clamp_(max=1)
    first = first.long()
    return first, (first + 1).clamp_(max=source - 1), 1 - weight, weight


def _scale(source: int, target: int, align_corners: bool) -> float:
    if align_corners:
        return (source - 1) / (target - 1) if target > 1 else 0.0
    return source / target


def _taps(
    source: int, target: int, align_corners: bool, maps: Tensor, exact_weights: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For every target position its two source positions and their weights (at least fp32), rounded as torch does."""
    dtype = torch.promote_types(maps.dtype, torch.float32)
    if align_corners:
        scale = torch.tensor(source - 1, dtype=dtype) / (target - 1) if target > 1 else torch.zeros((), dtype=dtype)
    else:
        scale = torch.tensor(source, dtype=dtype) / target
    # torch's scale is a number of the computing dtype, but the position is rounded once (a fused multiply-add).
    position = torch.arange(target, dtype=torch.float64)
    position = scale.double() * position if align_corners else scale.double() * (position + 0.5) - 0.5
    position = position.to(dtype).clamp(min=0)
    first = position.long().clamp(max=source - 1)
    second = (first + 1).clamp(max=source - 1)
    second_weight = (position - first).clamp(0, 1)
    if not exact_weights:
        second_weight = second_weight.to(maps.dtype)
    first_weight = (1 - second_weight).to(dtype)
    device = maps.device
    return first.to(device), second.to(device), first_weight.to(device), second_weight.to(device=device, dtype=dtype)


def _rounds_weights(maps: Tensor, size: tuple[int, int]) -> bool:
    """Whether torch's kernel rounds the weights to the dtype of ``maps``, which matters in half precision.

    On CPU the general kernel does. Those for 3 channels on one thread, for more than 3 in ``channels_last`` and for
    small results do not.
    """
    images = _images(maps)
    channels_last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
    channels = images.shape[1]
    three_channels = channels == 3 and torch.get_num_threads() == 1
    return maps.is_cpu and not three_channels and not (channels > 3 and channels_last) and sum(size) > 128


def _images(maps: Tensor) -> Tensor:
    """(..., K, h, w) -> (images, K, h, w); a view wherever the strides allow it."""
    return maps.unsqueeze(0) if maps.dim() == 3 else maps.flatten(0, -4)
