"""Ablations of FFC and the controls for it; not part of the installed package.

Shape shorthand as in ``ffc_dense/method/filtering.py``; S is the number of stages that are classified.
"""

from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffc_dense import FFCConv2d, FFCLinear
from ffc_dense.method.filtering import FeatureFilter, InputNorm, within_range


@dataclass(frozen=True)
class Variant:
    """A classifier of the same feature, with the same initial K x C weights. The defaults are FFC's.

    Attributes:
        num_filters: n. 0 is the stock classifier.
        interpolate: 2S - 1 outputs; False: S.
        classify_input: whether the raw feature F_0 is classified. One filter and False: one LayerNorm and ReLU before
            the stock classifier.
        normalize_input: F_0 is LN_0(x), with its own LayerNorm. Without filters this is the control: one LayerNorm
            before the stock classifier.
        last_relu: whether the last filter has its ReLU.
        residual: F_i = F_{i-1} + ReLU(LN_i(F_{i-1})).
        affine: whether the LayerNorms' weights and biases are trained.
        stage_bias, stage_scale: a bias (K) or a factor (1) for the logits of each later stage.
        input_scale: a constant factor on F_0, without any normalisation.
        every_output: the loss is the mean of the outputs' losses, not the loss of the mean output.
        before_dropout: segmentation heads filter before the dropout, so each stage has its own dropout mask.
    """

    num_filters: int = 3
    interpolate: bool = True
    classify_input: bool = True
    normalize_input: bool = False
    last_relu: bool = True
    residual: bool = False
    affine: bool = True
    stage_bias: bool = False
    stage_scale: bool = False
    input_scale: float = 1.0
    every_output: bool = False
    before_dropout: bool = False


class VariantFilter(FeatureFilter):
    """Identical to :class:`FeatureFilter`, except for what its :class:`Variant` says.

    ``forward`` returns the S stages that are classified.
    """

    def __init__(self, num_features: int, variant: Variant, *, device=None, dtype=None):
        super().__init__(num_features, variant.num_filters, device=device, dtype=dtype)
        self.variant = variant
        if variant.normalize_input:  # LN_0, the last in the list
            self.append(InputNorm(num_features, device=device, dtype=dtype))
        if not variant.affine:
            self.requires_grad_(False)

    @property
    def num_filters(self) -> int:
        return self.variant.num_filters

    @property
    def num_stages(self) -> int:
        return self.num_filters + self.variant.classify_input

    @property
    def is_identity(self) -> bool:
        return False

    def forward(self, x: Tensor, dim: int = -1) -> list[Tensor]:
        self.check_input(x, dim)
        variant = self.variant
        feature = x.movedim(dim, -1) * variant.input_scale
        if variant.normalize_input:
            feature = self[-1](feature)
        stages = [feature]
        feature = within_range(feature.float())
        for i, norm in enumerate(islice(self, variant.num_filters)):
            normal = norm(feature)
            last = i == variant.num_filters - 1
            filtered = normal if last and not variant.last_relu else F.relu(normal)
            feature = feature + filtered if variant.residual else filtered
            stages.append(feature)
        if not variant.classify_input:
            stages = stages[1:]
        return [stage.movedim(-1, dim) for stage in stages]


class _VariantClassifier:
    """Mixin before FFCLinear or FFCConv2d."""

    @classmethod
    def from_layer(cls, layer: nn.Module, variant: Variant):
        """With the parameters of ``layer``; draws no random number."""
        ffc = super().from_layer(layer, num_filters=variant.num_filters, interpolate=variant.interpolate)
        like = dict(device=layer.weight.device, dtype=layer.weight.dtype)
        ffc.filters = VariantFilter(ffc.filters.num_features, variant, **like)
        later = ffc.filters.num_stages - 1
        classes = len(layer.weight)
        ffc.stage_bias = nn.Parameter(torch.zeros(later, classes, **like)) if variant.stage_bias else None
        ffc.stage_scale = nn.Parameter(torch.ones(later, **like)) if variant.stage_scale else None
        return ffc

    def stage_logits(self, x: Tensor) -> list[Tensor]:
        logits = super().stage_logits(x)
        shape = [-1] + [1] * (-1 - self._feature_dim)
        for i in range(1, len(logits)):
            if self.stage_scale is not None:
                logits[i] = logits[i] * self.stage_scale[i - 1]
            if self.stage_bias is not None:
                logits[i] = logits[i] + self.stage_bias[i - 1].view(shape)
        return logits


class VariantLinear(_VariantClassifier, FFCLinear):
    pass


class VariantConv2d(_VariantClassifier, FFCConv2d):
    pass
