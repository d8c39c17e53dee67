"""The filter chain of FFC: LayerNorm + ReLU, again and again (paper section 3, eq. 2).

Shape shorthand used in the core:
    C: features (channels) of the classifier's input
    K: classes, the classifier's outputs
    n: filters in the chain; stages F_0 (the input) ... F_n
    M: outputs, 2n + 1, or n + 1 without interpolation
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_dim, check_dtype, check_feature, check_integer
from .options import check_eps, check_filters

HUGE = 1e15  # a feature beyond it is scaled down first: its square would leave the range of fp32


class FeatureFilter(nn.ModuleList):
    """A chain of n affine LayerNorms over C features, each followed by ReLU.

    F_0 = x and F_i = ReLU(LN_i(F_{i-1})). LayerNorm centres the feature, so ReLU zeroes what lies below its
    (affinely shifted) mean. It is a ModuleList of ``nn.LayerNorm``: the state-dict keys are ``{i}.weight`` and
    ``{i}.bias``, and optimizers recognise the parameters as those of a norm layer.

    Args:
        num_features: C.
        num_filters: n, 0 to 100; 0 leaves the feature alone.
        eps: LayerNorm's epsilon, at least 1e-5.

    Raises:
        ValueError: an option is out of its range.
        TypeError: ``dtype`` is not floating point.
    """

    def __init__(self, num_features: int, num_filters: int = 3, eps: float = 1e-5, *, device=None, dtype=None):
        check_integer("num_features", num_features, 1)
        check_filters("num_filters", num_filters)
        check_eps("eps", eps)
        check_dtype("dtype", dtype)
        super().__init__(nn.LayerNorm(num_features, eps, device=device, dtype=dtype) for _ in range(num_filters))
        self.num_features = num_features

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[nn.LayerNorm]: ...

    def reset_parameters(self) -> None:
        """Set every LayerNorm to weight 1 and bias 0."""
        for norm in self:
            norm.reset_parameters()

    def forward(self, x: Tensor, dim: int = -1) -> list[Tensor]:
        """All stages of ``x``, whose features lie along ``dim``.

        Returns:
            [F_0, ..., F_n], each shaped like ``x``. F_0 is ``x`` itself; the others are fp32 for half-precision
            input (statistics and chain stay in fp32 under autocast too), else of the dtype of ``x``.

        Raises:
            TypeError: ``x`` is no dense floating-point tensor, or ``dim`` no integer.
            ValueError: ``x`` does not have C features along ``dim``, or lies on another device than the filters.
        """
        self.check_input(x, dim)
        dim, last = dim % x.dim(), x.dim() - 1  # ONNX has no place counted from the end in a permutation
        stages = [x]
        # Features last for the whole chain: one permutation, not one per LayerNorm.
        feature = within_range(x.movedim(dim, last).to(torch.promote_types(x.dtype, torch.float32)))
        for norm in self:
            feature = self.filtered(norm, feature)
            stages.append(feature.movedim(last, dim))
        return stages

    def filtered(self, norm: nn.LayerNorm, feature: Tensor) -> Tensor:
        """F_i from F_{i-1}, both (..., C), with the i-th module of the list. A subclass may filter in another way."""
        weight, bias = norm.weight.to(feature.dtype), norm.bias.to(feature.dtype)
        return F.relu(F.layer_norm(feature, norm.normalized_shape, weight, bias, norm.eps))

    @property
    def num_filters(self) -> int:
        """n."""
        return len(self)

    @property
    def num_stages(self) -> int:
        """S, the stages that :meth:`forward` returns: n + 1."""
        return self.num_filters + 1

    @property
    def is_identity(self) -> bool:
        """Whether the only stage is the input, as it is."""
        return self.num_filters == 0

    def check_input(self, x: Tensor, dim: int) -> None:
        """Raise what :meth:`forward` raises for an ``x`` that it cannot take."""
        check_feature("the FFC input", x)
        check_dim("dim", dim)
        if not -x.dim() <= dim < x.dim() or x.shape[dim] != self.num_features:
            raise ValueError(
                f"FFC expects {self.num_features} features along dimension {dim}, got input of shape {tuple(x.shape)}"
            )
        if len(self) and x.device != self[0].weight.device:
            raise ValueError(f"the FFC input is on {x.device}, the filters are on {self[0].weight.device}: move one")


class InputNorm(nn.LayerNorm):
    """An affine LayerNorm over the C features along any dimension, computed in fp32 at least, in range as the filters.

    Its result has the dtype of its input: what follows is FFC of that feature.

    Args:
        num_features: C.
        eps: LayerNorm's epsilon, at least 1e-5.
    """

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        """(..., C, ...) with C along ``dim`` -> the same shape and dtype."""
        dim, last = dim % x.dim(), x.dim() - 1
        feature = within_range(x.movedim(dim, last).to(torch.promote_types(x.dtype, torch.float32)))
        weight, bias = self.weight.to(feature.dtype), self.bias.to(feature.dtype)
        return F.layer_norm(feature, self.normalized_shape, weight, bias, self.eps).to(x.dtype).movedim(last, dim)


def range_scale(feature: Tensor) -> Tensor:
    """What each feature of (..., C) is divided by so that none exceeds HUGE: (..., 1), at least 1."""
    return feature.detach().abs().amax(-1, keepdim=True).div(HUGE).clamp(min=1)


def within_range(feature: Tensor) -> Tensor:
    """``feature`` (..., C), with each one that exceeds HUGE scaled down to it; LayerNorm does not see the difference.

    The scale is a constant to autograd, which is exact: LayerNorm does not depend on it.
    """
    return feature / range_scale(feature)


def interpolate_outputs(outputs: list[Tensor]) -> list[Tensor]:
    """Put the average of each two neighbours between them: n + 1 outputs -> 2n + 1 (Out2, Out4, Out6).

    The paper averages neighbouring *features*; the classifier is linear, so averaging its logits is the same.
    """
    if not outputs:
        raise ValueError("outputs must hold at least one tensor, got none")
    paired = [outputs[0]]
    for previous, current in pairwise(outputs):
        paired += [previous / 2 + current / 2, current]  # in this order: the sum could leave the range of fp16
    return paired


def stage_weights(num_filters: int, interpolate: bool) -> list[float]:
    """The share of each of the n + 1 stages in the mean of all M outputs.

    Mean and classifier are linear and commute: with interpolation each inner stage counts twice (once itself, half
    in each neighbouring average) and each end 1.5 times, out of M = 2n + 1; without it all count alike.
    """
    check_integer("num_filters", num_filters, 0)
    if interpolate and num_filters > 0:
        return [(1.5 if i in (0, num_filters) else 2.0) / (2 * num_filters + 1) for i in range(num_filters + 1)]
    return [1.0 / (num_filters + 1)] * (num_filters + 1)


def mean_feature(stages: list[Tensor], interpolate: bool) -> Tensor:
    """The weighted sum of stages whose classification is the mean of all M outputs.

    Returns:
        A tensor shaped like the stages, of the dtype of the last one.
    """
    if not stages:
        raise ValueError("stages must hold at least F_0, got none")
    weights = stage_weights(len(stages) - 1, interpolate)
    total = stages[0].to(stages[-1].dtype) * weights[0]
    for stage, weight in zip(stages[1:], weights[1:], strict=True):
        total = total + stage * weight
    return total
