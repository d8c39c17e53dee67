"""The naive implementation of FFC: every step of the paper as one torch call, through plain autograd.

Tests, benchmarks and evidence compare with it. It uses nothing of the package but the parameters of the layer that it
is given. Shape shorthand as in ``filtering.py``.
"""

import copy
from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stages(x: Tensor, norms: Iterable[nn.Module], dim: int) -> list[Tensor]:
    """[F_0, ..., F_n], each shaped like ``x``, whose features lie along ``dim``."""
    found = [x]
    for norm in norms:
        found.append(F.relu(norm(found[-1].movedim(dim, -1))).movedim(-1, dim))
    return found


def outputs(layer, x: Tensor) -> list[Tensor]:
    """[Out1, ..., OutM] of an FFC layer: one product for each stage and for each average of two neighbours."""
    is_map = layer.weight.dim() == 4
    chain = stages(x, layer.filters, -3 if is_map else -1)
    features = chain[:1]
    for previous, current in pairwise(chain):
        features += [(previous + current) / 2, current] if layer.interpolate else [current]
    classify = F.conv2d if is_map else F.linear
    return [classify(feature, layer.weight, layer.bias) for feature in features]


def mean(layer, x: Tensor) -> Tensor:
    """The training result of an FFC layer: the mean of every output's logits."""
    return torch.stack(outputs(layer, x)).mean(0)


class LiteralFFC(nn.Module):
    """The naive implementation of an FFC layer, with a copy of its parameters.

    M products with the classifier, one per output, also in training; LayerNorm over a permuted map; all M logits are
    kept until their mean or their vote.

    Args:
        layer: an ``FFCLinear`` or ``FFCConv2d``.
    """

    def __init__(self, layer):
        super().__init__()
        self.weight, self.bias = copy.deepcopy(layer.weight), copy.deepcopy(layer.bias)
        self.filters = nn.ModuleList(copy.deepcopy(norm) for norm in layer.filters)
        self.interpolate = layer.interpolate
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C) or (N, C, h, w) -> logits (N, K) or (N, K, h, w): the mean in training, else the vote."""
        return mean(self, x) if self.training else literal_vote(self.outputs(x))

    def outputs(self, x: Tensor) -> Tensor:
        """(M, N, K) or (M, N, K, h, w): every output."""
        return torch.stack(outputs(self, x))


def literal_vote(outputs: Tensor) -> Tensor:
    """The vote over all M logits: (M, N, K, ...) -> (N, K, ...), the logits of the winning output.

    The class with most votes wins, a tie goes to the most confident output among the tied classes. Labels,
    confidences and votes are found output by output, so that beside the maps themselves little is held at a time.
    """
    labels, confidences = [], []
    for logits in outputs:
        confidence, label = logits.softmax(1).max(1)
        labels.append(label)
        confidences.append(confidence)
    votes = torch.stack([(torch.stack(labels) == label).sum(0) for label in labels])
    winner = torch.stack(confidences).masked_fill(votes < votes.amax(0), -1).argmax(0)
    return outputs.gather(0, winner[None, :, None].expand(1, *outputs.shape[1:])).squeeze(0)


def literal_segmentation(outputs: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Outputs (M, N, K, h, w) -> label map (N, H, W): all M maps at image size, then the vote."""
    maps = F.interpolate(outputs.flatten(0, 1), size, mode="bilinear", align_corners=align_corners)
    return literal_vote(maps.unflatten(0, outputs.shape[:2])).argmax(1)
