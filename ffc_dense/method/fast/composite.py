"""The mean of all outputs of an FFC layer, spelled out in differentiable PyTorch operations.

Shape shorthand as in ``fast/__init__.py``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filtering import within_range


def composite_mean(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    affine: list[Tensor],
    eps: list[float],
    weights: list[float],
    dim: int,
) -> Tensor:
    """Classify the weighted sum of the stages of ``x``; arguments and result as of the blocked form."""
    rows = x.movedim(dim, -1)
    feature = within_range(rows.to(torch.promote_types(x.dtype, torch.float32)))
    total = rows.to(feature.dtype) * weights[0]
    for norm_weight, norm_bias, value, share in zip(affine[::2], affine[1::2], eps, weights[1:], strict=True):
        pair = norm_weight.to(feature.dtype), norm_bias.to(feature.dtype)
        feature = F.relu(F.layer_norm(feature, feature.shape[-1:], *pair, value))
        total = total + feature * share
    return F.linear(total.to(weight.dtype), weight, bias).movedim(-1, dim)
