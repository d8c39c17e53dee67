"""The mean of all outputs in plain PyTorch, block by block: a form of :mod:`ffc_dense.method.fast.recomputed`.

Each block of positions passes filters, weighted sum and classifier; on the CPU while it lies in the cache, on a GPU in
blocks that bound the memory and are few. Arguments as of
:func:`ffc_dense.method.fast.recomputed.recomputed_mean`, shape shorthand as in ``fast/__init__.py``.
"""

import torch
from torch import Tensor

from ..filtering import within_range
from . import devices
from .blocks import PADDING, as_positions, block_size, blocks, empty_for, for_pieces, load, store
from .chain import ChainGradient, Filter, run_filter, run_filters, surely_within_range


def forward(x, weight, bias, affine, eps, weights, dim) -> tuple[Tensor, bool, list[Tensor]]:
    """The result, whether features beyond the range had to be scaled down, and no statistics to keep."""
    filters = _filters(x, affine, eps)
    # Huge features are rare. Only on the CPU it is worth a look whether there are any: elsewhere the look would stop
    # the queue, and the features are always scaled.
    scaled = not devices.is_cpu(x)
    result, seen = _forward(x, weight, bias, filters, weights, dim, scaled)
    if not (scaled or surely_within_range(seen, x.shape[dim])):
        scaled = True
        result, _ = _forward(x, weight, bias, filters, weights, dim, scaled)
    return result, scaled, []


def _filters(x: Tensor, affine, eps: list[float]) -> list[Filter]:
    dtype = torch.promote_types(x.dtype, torch.float32)
    pairs = zip(affine[::2], affine[1::2], eps, strict=True)
    return [Filter(weight.detach().to(dtype), bias.detach().to(dtype), value) for weight, bias, value in pairs]


def _forward(x, weight, bias, filters, weights, dim, scaled):
    """The result, and of every block the mean and reciprocal deviation that the first filter met: (m, 1) each."""
    dtype, num_classes = filters[0].weight.dtype, len(weight)
    result = empty_for(x, dim, num_classes, weight.dtype)
    source, target = as_positions(x, dim), as_positions(result, dim)
    columns = weight.t().contiguous()  # the product is faster with it on small blocks

    def work(piece):
        statistics = []
        for at in piece:
            first = load(source[at], dtype)
            total, chain = run_filters(first, filters, weights, scaled, keep=False)
            statistics.append((chain[0].mean, chain[0].rstd))
            store(_classify(total.to(weight.dtype), columns, bias), target[at])
        return statistics

    cut = list(blocks(source, block_size(x, x.shape[dim], num_classes, dtype.itemsize)))
    return result, [each for part in for_pieces(x, work, cut) for each in part]


def stage_logits(x, weight, bias, affine, eps, dim) -> list[Tensor]:
    """The classifier's result for each of the stages F_1 ... F_n, without gradients."""
    filters = _filters(x, affine, eps)
    scaled = not devices.is_cpu(x)
    results, seen = _stage_logits(x, weight, bias, filters, dim, scaled)
    if not (scaled or surely_within_range(seen, x.shape[dim])):
        results, _ = _stage_logits(x, weight, bias, filters, dim, True)
    return results


def _stage_logits(x, weight, bias, filters, dim, scaled):
    dtype, num_classes = filters[0].weight.dtype, len(weight)
    results = [empty_for(x, dim, num_classes, weight.dtype) for _ in filters]
    source, targets = as_positions(x, dim), [as_positions(result, dim) for result in results]
    columns = weight.t().contiguous()

    def work(piece):
        statistics = []
        for at in piece:
            feature = load(source[at], dtype)
            if scaled:
                feature = within_range(feature)
            for i, norm in enumerate(filters):
                filtered = run_filter(feature, norm)
                feature = filtered.stage
                if i == 0:
                    statistics.append((filtered.mean, filtered.rstd))
                store(_classify(feature.to(weight.dtype), columns, bias), targets[i][at])
        return statistics

    cut = list(blocks(source, block_size(x, x.shape[dim], num_classes, dtype.itemsize)))
    return results, [each for part in for_pieces(x, work, cut) for each in part]


def _classify(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    return rows @ columns if bias is None else torch.addmm(bias, rows, columns)


def backward(grad, x, weight, bias, affine, eps, weights, dim, scaled, statistics, needed) -> list[Tensor | None]:
    """Gradients of x, weight, bias and each of ``affine`` where ``needed``; ``scaled`` as of :func:`forward`."""
    filters = _filters(x, affine, eps)
    dtype, num_classes, features = filters[0].weight.dtype, len(weight), x.shape[dim]
    x_needed, weight_needed, bias_needed, *affine_needed = needed
    grad_x = empty_for(x, dim, features, x.dtype) if x_needed else None
    affine_wanted = any(affine_needed)
    source, incoming = as_positions(x, dim), as_positions(grad, dim)
    target = None if grad_x is None else as_positions(grad_x, dim)
    last_weight = weight * weights[-1]

    def work(piece):
        grad_weight = torch.zeros(weight.shape, dtype=dtype, device=x.device)
        gradient = ChainGradient(filters, weights, x_needed, affine_wanted)
        for at in piece:
            first = load(source[at], dtype)
            total, chain = run_filters(first, filters, weights, scaled, keep=True)
            logits = load(incoming[at], weight.dtype)
            if weight_needed:
                if weight.dtype == dtype:
                    grad_weight.addmm_(logits.t(), total)
                else:
                    grad_weight += logits.t() @ total.to(weight.dtype)
            del total
            if not (x_needed or affine_wanted):
                continue
            last = (logits @ last_weight).to(dtype)
            if target is None:
                gradient.run(first, chain, scaled, last, None)
            elif target.stride(2) == 1:
                gradient.run(first, chain, scaled, last, target[at])
            else:
                out = last.new_empty(len(last), features + PADDING)[:, :features]
                gradient.run(first, chain, scaled, last, out)
                store(out, target[at])
        return grad_weight, gradient.affine() if affine_wanted else []

    found = for_pieces(x, work, list(blocks(source, block_size(x, features, num_classes, dtype.itemsize))))
    grad_weight = found[0][0]
    for more, _ in found[1:]:  # in order, so that two runs are equal to the bit
        grad_weight += more
    grad_affine: list = [None] * len(affine_needed)
    if affine_wanted:
        grad_affine = [sum(parts[1:], parts[0]) for parts in zip(*(each for _, each in found), strict=True)]
    return [
        grad_x,
        grad_weight.to(weight.dtype) if weight_needed else None,
        incoming.sum((0, 1)).to(bias.dtype) if bias_needed else None,
        *(tensor if need else None for tensor, need in zip(grad_affine, affine_needed, strict=True)),
    ]
