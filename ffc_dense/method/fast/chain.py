"""The filter chain over one block of rows, forward and backward, in few passes over memory.

Shape shorthand as in ``fast/__init__.py``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..filtering import HUGE, range_scale, within_range

_relu_backward = torch.ops.aten.threshold_backward.grad_input
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default


@dataclass
class Filter:
    """One LayerNorm in the dtype of the chain: weight (C,), bias (C,), eps."""

    weight: Tensor
    bias: Tensor
    eps: float


@dataclass
class Filtered:
    """One filter's input (m, C), mean (m, 1) and reciprocal deviation (m, 1) of it, and the stage that came out.

    Those that are empty were given free.
    """

    input: Tensor
    mean: Tensor
    rstd: Tensor
    stage: Tensor


def run_filters(
    first: Tensor, filters: list[Filter], weights: list[float], scaled: bool, keep: bool
) -> tuple[Tensor, list[Filtered]]:
    """The weighted sum of the stages of the rows ``first`` (m, C), each added while it lies in the cache.

    Args:
        weights: of the n + 1 stages.
        scaled: whether features beyond the range are scaled down before the first filter.
        keep: whether all filters are wanted; else what only they need is given free at once.

    Returns:
        The sum (m, C), and one entry per filter, or that of the first one alone without its stage.
    """
    total = first * weights[0]
    feature = within_range(first) if scaled else first
    chain = []
    for norm, weight in zip(filters, weights[1:], strict=True):
        filtered = run_filter(feature, norm)
        feature = filtered.stage
        total.add_(feature, alpha=weight)
        if keep:
            chain.append(filtered)
        elif not chain:
            nothing = first.new_empty(0)
            chain.append(Filtered(nothing, filtered.mean, filtered.rstd, nothing))
    return total, chain


def run_filter(feature: Tensor, norm: Filter) -> Filtered:
    """One LayerNorm and ReLU over the rows ``feature`` (m, C)."""
    out, mean, rstd = torch.native_layer_norm(feature, feature.shape[-1:], norm.weight, norm.bias, norm.eps)
    return Filtered(feature, mean, rstd, out.relu_())


def surely_within_range(statistics: list[tuple[Tensor, Tensor]], num_features: int) -> bool:
    """Whether the first filter's (mean, reciprocal deviation) of every block say that no feature exceeds the range.

    It costs no pass over the features: no |x| exceeds |mean| + deviation * sqrt(C).
    """
    mean, rstd = (torch.cat(values) for values in zip(*statistics, strict=True))
    # Statistics that overflowed are not numbers, and compare as False.
    return bool((mean.abs() + num_features**0.5 / rstd).max() <= HUGE)


class ChainGradient:
    """Backward pass of the weighted sum of stages; collects the filters' gradients over the blocks.

    Args:
        filters: as in :func:`run_filters`.
        weights: of the n + 1 stages.
        input_needed, affine_needed: which gradients are wanted.
    """

    def __init__(self, filters: list[Filter], weights: list[float], input_needed: bool, affine_needed: bool):
        self.filters = filters
        self.relative = [weight / weights[-1] for weight in weights]
        self.input_needed = input_needed
        self.affine_needed = affine_needed
        self._affine: list[Tensor] = []  # gradients of weight and bias, per block and filter, the last filter first

    def run(self, first: Tensor, chain: list[Filtered], scaled: bool, last: Tensor, out: Tensor | None) -> None:
        """One block. Uses up ``chain``, so that memory that still lies in the cache is free for the next step.

        Args:
            first, chain, scaled: of :func:`run_filters`.
            last: (m, C) what F_n receives from the weighted sum: its gradient times the last weight. Is kept.
            out: takes the gradient of F_0, any shape with m * C elements and the features last; None if not needed.
        """
        below = last
        for i in reversed(range(len(self.filters))):
            norm, seen = self.filters[i], chain.pop()
            # The stage has done its work when its sign is known: its place takes the gradient behind the ReLU.
            _relu_backward(below, seen.stage, 0, grad_input=seen.stage)
            needed = [i > 0 or self.input_needed, self.affine_needed, self.affine_needed]
            below, weight, bias = _layer_norm_backward(
                seen.stage, seen.input, last.shape[-1:], seen.mean, seen.rstd, norm.weight, norm.bias, needed
            )
            if self.affine_needed:
                self._affine += [weight, bias]
            if i > 0:
                below.add_(last, alpha=self.relative[i])
        if out is not None:
            if scaled:
                below = below / range_scale(first)
            torch.add(below.view(out.shape), last.view(out.shape), alpha=self.relative[0], out=out)

    def affine(self) -> list[Tensor]:
        """The gradients of [weight_1, bias_1, weight_2, ...], summed over the blocks, each (C,)."""
        count = 2 * len(self.filters)
        total = torch.stack(self._affine).unflatten(0, (-1, count)).sum(0)
        return [total[count - 2 - i + 2 * (i % 2)] for i in range(count)]
