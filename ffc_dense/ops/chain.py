"""The filter chain over one block of rows, forward and backward, in few passes over memory.

Shape shorthand as in ``ops/__init__.py``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..filtering import HUGE, range_scale, within_range


@dataclass
class Filter:
    """One LayerNorm in the dtype of the chain: weight (C,), bias (C,), eps."""

    weight: Tensor
    bias: Tensor
    eps: float


@dataclass
class Normalized:
    """What the backward pass of one LayerNorm needs: its input (m, C), mean (m, 1), reciprocal deviation (m, 1)."""

    input: Tensor
    mean: Tensor
    rstd: Tensor


def run_filters(stages: Tensor, filters: list[Filter], scaled: bool | None = None) -> tuple[list[Normalized], bool]:
    """Fill stages[1:] from stages[0].

    Args:
        stages: (n + 1, m, C); stages[0] holds F_0.
        scaled: whether features beyond the range are scaled down first. None: find out from their statistics, which
            costs no pass over the features, but on an accelerator a synchronisation.

    Returns:
        One entry per filter, and whether features were scaled.
    """
    feature = stages[0]
    trace = []
    for stage, norm in zip(stages[1:], filters, strict=True):
        if scaled and not trace:
            feature = within_range(feature)
        out, mean, rstd = _layer_norm(feature, norm)
        if scaled is None:
            scaled = not _surely_within_range(mean, rstd, feature.shape[-1])
            if scaled:
                feature = within_range(feature)
                out, mean, rstd = _layer_norm(feature, norm)
        torch.clamp_min(out, 0, out=stage)
        trace.append(Normalized(feature, mean, rstd))
        feature = stage
    return trace, bool(scaled)


def weighted_sum(stages: Tensor, weights: Tensor, out: Tensor) -> Tensor:
    """sum_i weights[i] * stages[i] into ``out`` (m, C), reading every stage once."""
    torch.mv(stages.view(len(stages), -1).t(), weights, out=out.view(-1))
    return out


def _layer_norm(feature: Tensor, norm: Filter) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_layer_norm(feature, (feature.shape[-1],), norm.weight, norm.bias, norm.eps)


def _surely_within_range(mean: Tensor, rstd: Tensor, num_features: int) -> bool:
    # No |x| exceeds |mean| + deviation * sqrt(C). Not-a-number, from statistics that overflowed, compares as False.
    bound = mean.abs() + num_features**0.5 / rstd
    return bool(bound.max() <= HUGE)


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
        self.weights = [torch.zeros_like(norm.weight) for norm in filters]
        self.biases = [torch.zeros_like(norm.bias) for norm in filters]

    def run(self, stages: Tensor, trace: list[Normalized], scaled: bool, last: Tensor, out: Tensor | None) -> None:
        """One block.

        Args:
            stages, trace, scaled: of :func:`run_filters`.
            last: (m, C) what F_n receives from the weighted sum: its gradient times the last weight. Is kept.
            out: takes the gradient of F_0, any shape with m * C elements and the features last; None if not needed.
        """
        incoming = last
        for i in reversed(range(len(self.filters))):
            norm, seen = self.filters[i], trace[i]
            through = torch.empty_like(last) if incoming is last else incoming
            torch.ops.aten.threshold_backward.grad_input(incoming, stages[i + 1], 0, grad_input=through)
            needed = [i > 0 or self.input_needed, self.affine_needed, self.affine_needed]
            below, weight, bias = torch.ops.aten.native_layer_norm_backward(
                through, seen.input, (last.shape[-1],), seen.mean, seen.rstd, norm.weight, norm.bias, needed
            )
            if self.affine_needed:
                self.weights[i] += weight
                self.biases[i] += bias
            if i > 0:
                incoming = below.add_(last, alpha=self.relative[i])
            elif self.input_needed:
                if scaled:
                    below = below / range_scale(stages[0])
                torch.add(below.view(out.shape), last.view(out.shape), alpha=self.relative[0], out=out)
