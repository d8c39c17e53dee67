"""The mean of all outputs of an FFC layer, computed block by block and recomputed in backward.

Shape shorthand as in ``ops/__init__.py``.
"""

import torch
from torch import Tensor
from torch.autograd import Function

from .blocks import PADDING, as_positions, block_size, blocks, empty_for, load, store
from .chain import ChainGradient, Filter, run_filters, surely_within_range, weighted_sum
from .composite import composite_mean


def blocked_mean(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    affine: list[Tensor],
    eps: list[float],
    weights: list[float],
    dim: int,
) -> Tensor:
    """Classify the weighted sum of the stages of ``x``; keeps ``x`` alone for backward.

    Identical to :func:`ffc_dense.ops.composite.composite_mean` up to rounding, except that each block of positions
    passes filters, sum and classifier while it lies in the cache, and that backward runs the filters again.

    Args:
        x: (..., C) with ``dim`` -1 or (N, C, H, W) with ``dim`` -3; any strides; at least one element.
        weight: (K, C) in the dtype of the result.
        bias: (K,) or None.
        affine: the filters' weights and biases, each (C,): [weight_1, bias_1, weight_2, ...]; n >= 1.
        eps: of each filter.
        weights: of the n + 1 stages.

    Returns:
        (..., K) or (N, K, H, W), of the dtype of ``weight``.
    """
    return _BlockedMean.apply(x, weight, bias, eps, weights, dim, *affine)


class _BlockedMean(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps, weights, dim, *affine):
        ctx.save_for_backward(x, weight, bias, *affine)
        ctx.eps, ctx.weights, ctx.dim = eps, weights, dim
        with torch.autocast(x.device.type, enabled=False):
            filters = _filters(x, affine, eps)
            # Huge features are rare. Only on the CPU it is worth a look whether there are any: elsewhere the look
            # would stop the queue, and the features are always scaled.
            ctx.scaled = x.device.type != "cpu"
            result, statistics = _forward(x, weight, bias, filters, weights, dim, ctx.scaled)
            if not (ctx.scaled or surely_within_range(statistics, x.shape[dim])):
                ctx.scaled = True
                result, _ = _forward(x, weight, bias, filters, weights, dim, ctx.scaled)
        return result

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias, *affine = ctx.saved_tensors
        needed = [*ctx.needs_input_grad[:3], *ctx.needs_input_grad[6:]]
        if torch.is_grad_enabled():  # create_graph=True: the composite form can be differentiated again
            found = _differentiable_backward(ctx, grad, [x, weight, bias, *affine], needed)
        else:
            with torch.autocast(x.device.type, enabled=False):
                filters = _filters(x, affine, ctx.eps)
                found = _backward(ctx, grad, x, weight, bias, filters, needed)
        return (*found[:3], None, None, None, *found[3:])


def _differentiable_backward(ctx, grad, tensors, needed):
    x, weight, bias, *affine = tensors
    result = composite_mean(x, weight, bias, affine, ctx.eps, ctx.weights, ctx.dim)
    wanted = [tensor for tensor, need in zip(tensors, needed, strict=True) if need]
    found = iter(torch.autograd.grad(result, wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed]


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
    statistics = []
    for at in blocks(source, block_size(x, x.shape[dim], num_classes, dtype.itemsize)):
        first = load(source[at], dtype)
        chain = run_filters(first, filters, scaled)
        statistics.append((chain[0].mean, chain[0].rstd))
        total = weighted_sum(first, chain, weights).to(weight.dtype)
        store(total @ columns if bias is None else torch.addmm(bias, total, columns), target[at])
    return result, statistics


def _backward(ctx, grad, x, weight, bias, filters, needed):
    dim, weights = ctx.dim, ctx.weights
    dtype, num_classes, features = filters[0].weight.dtype, len(weight), x.shape[ctx.dim]
    x_needed, weight_needed, bias_needed, *affine_needed = needed
    grad_x = empty_for(x, dim, features, x.dtype) if x_needed else None
    grad_weight = torch.zeros(weight.shape, dtype=dtype, device=x.device)
    gradient = ChainGradient(filters, weights, x_needed, any(affine_needed))
    source, incoming = as_positions(x, dim), as_positions(grad, dim)
    target = as_positions(grad_x, dim) if x_needed else None
    last_weight = weight * weights[-1]
    for at in blocks(source, block_size(x, features, num_classes, dtype.itemsize)):
        first = load(source[at], dtype)
        chain = run_filters(first, filters, ctx.scaled)
        logits = load(incoming[at], weight.dtype)
        if weight_needed:
            total = weighted_sum(first, chain, weights)
            if weight.dtype == dtype:
                grad_weight.addmm_(logits.t(), total)
            else:
                grad_weight += logits.t() @ total.to(weight.dtype)
        if not (x_needed or gradient.affine_needed):
            continue
        last = (logits @ last_weight).to(dtype)
        if not x_needed:
            gradient.run(first, chain, ctx.scaled, last, None)
        elif target.stride(2) == 1:
            gradient.run(first, chain, ctx.scaled, last, target[at])
        else:
            out = last.new_empty(len(last), features + PADDING)[:, :features]
            gradient.run(first, chain, ctx.scaled, last, out)
            store(out, target[at])
    affine = gradient.affine() if gradient.affine_needed else [None] * len(affine_needed)
    return [
        grad_x,
        grad_weight.to(weight.dtype) if weight_needed else None,
        incoming.sum((0, 1)).to(bias.dtype) if bias_needed else None,
        *(tensor if need else None for tensor, need in zip(affine, affine_needed, strict=True)),
    ]
