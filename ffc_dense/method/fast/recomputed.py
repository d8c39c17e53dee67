"""The autograd function that keeps the input of an FFC layer and runs its filters again in backward.

Shape shorthand as in ``fast/__init__.py``.
"""

from types import ModuleType

import torch
from torch import Tensor
from torch.autograd import Function

from .composite import composite_mean


def recomputed_mean(
    form: ModuleType,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    affine: list[Tensor],
    eps: list[float],
    weights: list[float],
    dim: int,
) -> Tensor:
    """Classify the weighted sum of the stages of ``x``; up to rounding the same as :func:`composite_mean`.

    Args:
        form: the module whose ``forward`` and ``backward`` compute, ``blocked`` or ``triton_mean``.
        x: (..., C) with ``dim`` -1 or (N, C, H, W) with ``dim`` -3; any strides; at least one element.
        weight: (K, C) in the dtype of the result.
        bias: (K,) or None.
        affine: the filters' weights and biases, each (C,): [weight_1, bias_1, weight_2, ...]; n >= 1.
        eps: of each filter.
        weights: of the n + 1 stages.

    Returns:
        (..., K) or (N, K, H, W), of the dtype of ``weight``.
    """
    return _RecomputedMean.apply(form, x, weight, bias, eps, weights, dim, *affine)


class _RecomputedMean(Function):
    @staticmethod
    def forward(ctx, form, x, weight, bias, eps, weights, dim, *affine):
        ctx.form, ctx.options = form, (eps, weights, dim)
        with torch.autocast(x.device.type, enabled=False):
            result, ctx.scaled, statistics = form.forward(x, weight, bias, affine, *ctx.options)
        ctx.count = len(affine)
        ctx.save_for_backward(x, weight, bias, *affine, *statistics)
        return result

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias, *others = ctx.saved_tensors
        affine, statistics = others[: ctx.count], others[ctx.count :]
        needed = [*ctx.needs_input_grad[1:4], *ctx.needs_input_grad[7:]]
        if torch.is_grad_enabled():  # create_graph=True: the composite form can be differentiated again
            wanted = [tensor for tensor, need in zip([x, weight, bias, *affine], needed, strict=True) if need]
            result = composite_mean(x, weight, bias, affine, *ctx.options)
            computed = iter(torch.autograd.grad(result, wanted, grad, create_graph=True))
            found = [next(computed) if need else None for need in needed]
        else:
            with torch.autocast(x.device.type, enabled=False):
                found = ctx.form.backward(grad, x, weight, bias, affine, *ctx.options, ctx.scaled, statistics, needed)
        return (None, *found[:3], None, None, None, *found[3:])
