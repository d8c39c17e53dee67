"""The mean of all outputs of an FFC layer, computed block by block and recomputed in backward.

Shape shorthand as in ``ops/__init__.py``.
"""

import torch
from torch import Tensor
from torch.autograd import Function

from .blocks import PADDING, as_positions, block_size, blocks, empty_for, load
from .chain import ChainGradient, Filter, run_filters, weighted_sum
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
            result, ctx.scaled = _forward(x, weight, bias, _filters(x, affine, eps), weights, dim)
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


def _workspace(x: Tensor, filters: list[Filter], dim: int, num_classes: int):
    """Block size, and a function that gives room for the n + 1 stages of m positions."""
    features, dtype = x.shape[dim], filters[0].weight.dtype
    size = block_size(x, features, num_classes, dtype.itemsize)
    count = len(filters) + 1
    room = torch.empty(count * min(size, x.numel() // features) * features, dtype=dtype, device=x.device)
    return size, lambda positions: room[: count * positions * features].view(count, positions, features)


def _forward(x, weight, bias, filters, weights, dim):
    num_classes = len(weight)
    result = empty_for(x, dim, num_classes, weight.dtype)
    source, target = as_positions(x, dim), as_positions(result, dim)
    size, room = _workspace(x, filters, dim, num_classes)
    shares = torch.tensor(weights, dtype=filters[0].weight.dtype, device=x.device)
    # Whether a feature is huge is worth a look on the CPU only: elsewhere it would stop the queue.
    check = None if x.device.type == "cpu" else True
    any_scaled = False
    for images, positions in blocks(source, size):
        block = source[images, positions]
        stages = room(block.shape[0] * block.shape[1])
        load(block, stages[0])
        _, scaled = run_filters(stages, filters, check)
        any_scaled |= scaled
        total = weighted_sum(stages, shares, out=torch.empty_like(stages[0])).to(weight.dtype)
        logits = torch.nn.functional.linear(total, weight, bias)
        target[images, positions].copy_(logits.view(*block.shape[:2], num_classes))
    return result, any_scaled


def _backward(ctx, grad, x, weight, bias, filters, needed):
    dim, weights = ctx.dim, ctx.weights
    dtype, num_classes = filters[0].weight.dtype, len(weight)
    x_needed, weight_needed, bias_needed = needed[:3]
    grad_x = empty_for(x, dim, x.shape[dim], x.dtype) if x_needed else None
    grad_weight = torch.zeros(weight.shape, dtype=dtype, device=x.device)
    chain = ChainGradient(filters, weights, x_needed, any(needed[3:]))
    source, gradient = as_positions(x, dim), as_positions(grad, dim)
    target = as_positions(grad_x, dim) if x_needed else None
    size, room = _workspace(x, filters, dim, num_classes)
    shares = torch.tensor(weights, dtype=dtype, device=x.device)
    scaled_weight = weight * weights[-1]
    for images, positions in blocks(source, size):
        block = source[images, positions]
        m = block.shape[0] * block.shape[1]
        stages = room(m)
        load(block, stages[0])
        trace, _ = run_filters(stages, filters, ctx.scaled)
        incoming = torch.empty(m, num_classes, dtype=weight.dtype, device=x.device)
        load(gradient[images, positions], incoming)
        if weight_needed:
            total = weighted_sum(stages, shares, out=torch.empty_like(stages[0])).to(weight.dtype)
            if weight.dtype == dtype:
                grad_weight.addmm_(incoming.t(), total)
            else:
                grad_weight += incoming.t() @ total
        if not (x_needed or chain.affine_needed):
            continue
        last = (incoming @ scaled_weight).to(dtype)
        if not x_needed:
            chain.run(stages, trace, ctx.scaled, last, None)
        elif target.stride(2) == 1:
            chain.run(stages, trace, ctx.scaled, last, target[images, positions])
        else:
            features = last.shape[1]
            out = last.new_empty(*block.shape[:2], features + PADDING)[..., :features]
            chain.run(stages, trace, ctx.scaled, last, out)
            target[images, positions].copy_(out)
    affine = [tensor for pair in zip(chain.weights, chain.biases, strict=True) for tensor in pair]
    return [
        grad_x,
        grad_weight.to(weight.dtype) if weight_needed else None,
        gradient.sum((0, 1)).to(bias.dtype) if bias_needed else None,
        *(tensor if need else None for tensor, need in zip(affine, needed[3:], strict=True)),
    ]
