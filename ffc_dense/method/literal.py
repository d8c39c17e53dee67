"""The literal form of FFC: every step of the paper as one torch call, through plain autograd.

It is the baseline that the package's own layers are measured against, and uses nothing of the package but the
parameters of the layer that it copies. Shape shorthand as in ``benchmarks/__init__.py``.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LiteralFFC(nn.Module):
    """The literal form of an FFC layer, with a copy of its parameters.

    M products with the classifier, one per output, also in training; LayerNorm over a permuted map; all M logits are
    kept until their mean or their vote.

    Args:
        layer: an ``FFCLinear`` or ``FFCConv2d`` with interpolation. Only its state dict is read: ``weight``, ``bias``
            and ``filters.{i}.weight``, ``filters.{i}.bias``.

    Raises:
        ValueError: ``layer`` does not interpolate.
    """

    def __init__(self, layer: nn.Module):
        super().__init__()
        if not layer.interpolate:
            raise ValueError("LiteralFFC spells out the paper's 2n + 1 outputs, got a layer with interpolate=False")
        state = {name: value.detach().clone() for name, value in layer.state_dict().items()}
        self.weight = nn.Parameter(state["weight"])
        self.bias = nn.Parameter(state["bias"]) if "bias" in state else None
        self.norms = nn.ModuleList()
        while f"filters.{len(self.norms)}.weight" in state:
            prefix = f"filters.{len(self.norms)}"
            norm = nn.LayerNorm(state["weight"].shape[1]).to(state["weight"])
            norm.load_state_dict({name: state[f"{prefix}.{name}"] for name in ("weight", "bias")})
            self.norms.append(norm)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C) or (N, C, h, w) -> logits (N, K) or (N, K, h, w): the mean in training, else the vote."""
        outputs = self.outputs(x)
        return outputs.mean(0) if self.training else literal_vote(outputs)

    def outputs(self, x: Tensor) -> Tensor:
        """(M, N, K) or (M, N, K, h, w): one product for each stage and for each average of two neighbours."""
        stages = [x]
        for norm in self.norms:
            stages.append(F.relu(self._normalise(norm, stages[-1])))
        features = [stages[0]]
        for previous, current in pairwise(stages):
            features += [(previous + current) / 2, current]
        return torch.stack([self._classify(feature) for feature in features])

    def _normalise(self, norm: nn.Module, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return norm(x)
        return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _classify(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias) if self.weight.dim() == 4 else F.linear(x, self.weight, self.bias)


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
