"""Grad-CAM maps, one for each output.

Shape shorthand: N samples that decide together, 1 or the clips of a video; M outputs, K classes (after a binary
classifier's single logit: 1), A channels and (h, w) size of the explained feature map, (t, h, w) of a clip, (p, q) size
of the classified map, 1 x 1 for a box.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UserError
from ...method.layers import FFCConv2d, FFCLinear
from ...method.voting import elect
from ..activity import active_units


class ChoiceError(UserError, ValueError):
    """An output or a pixel to explain that is not there. The message has the tool's option and what there is."""


@dataclass(frozen=True)
class OutputTarget:
    """What is differentiated: a class's logit of one output, averaged over a region.

    Attributes:
        output: from 0, Out1.
        label: of the class. Of a single logit (K = 1), label 1 is its positive and label 0 its negative side.
        weights: (p, q), the region; they sum to 1.
    """

    output: int
    label: int
    weights: Tensor

    def __call__(self, outputs: Tensor) -> Tensor:
        """Logits of all outputs (M, K, p, q) -> a scalar."""
        logits = outputs[self.output]
        logit = logits[self.label] if len(logits) > 1 else (logits[0] if self.label == 1 else -logits[0])
        return (logit * self.weights).sum()


def grad_cam(head: "Head", feature: Tensor, target: OutputTarget, sample: int = 0) -> np.ndarray:
    """(N, A, h, w) -> (h, w) of one sample, or (N, A, t, h, w) -> (t, h, w) of one clip.

    ReLU of the sum over channels of mean gradient times activation: eq. 1 and 2 of the Grad-CAM paper (Selvaraju et
    al., 2017). Size and scale are those of the feature map.
    """
    feature = feature.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(target(head(feature)[0]), feature)
    weights = gradient[sample].flatten(1).mean(1)
    return torch.tensordot(weights, feature[sample].detach(), 1).relu().cpu().numpy()


class Head(nn.Module):
    """What follows the explained feature map, up to the logits of every output.

    Args:
        classifier: a linear layer or 1x1 convolution, stock or FFC.
        kept: so many classes take part, the first ones; None: all.
        threshold: of the probability, above which a single logit (K = 1) means label 1.

    Attributes:
        rest: from the feature map (N, A, h, w) to the input of ``classifier``, (N, C) or (N, C, p, q). To be set: it
            may differ from box to box. By default the map is classified as it is.
    """

    def __init__(self, classifier: nn.Linear | nn.Conv2d, kept: int | None = None, threshold: float = 0.5):
        super().__init__()
        self.classifier, self.kept, self.threshold = classifier, kept, threshold
        self.rest: Callable[[Tensor], Tensor] = lambda feature: feature

    def forward(self, feature: Tensor) -> Tensor:
        """(N, A, h, w) -> (1, M, K, p, q)."""
        outputs = self.outputs(self.classified(feature))[:, :, : self.kept]
        return outputs.transpose(0, 1)

    def classified(self, feature: Tensor) -> Tensor:
        """The input of the classifier, (N, C, p, q)."""
        found = self.rest(feature)
        return found[:, :, None, None] if found.dim() == 2 else found

    def outputs(self, x: Tensor) -> Tensor:
        """(N, C, p, q) -> (M, 1, K, p, q): every output, averaged over the samples."""
        flat = isinstance(self.classifier, nn.Linear)
        x = x.flatten(1) if flat else x
        found = self.classifier.outputs(x) if self.is_ffc else self.classifier(x)[None]
        found = found[..., None, None] if flat else found
        return found.mean(1, keepdim=True)

    def units(self, x: Tensor) -> Tensor:
        """How many units are active of the feature that each output classifies, (M, p, q); the samples' average."""
        if not isinstance(self.classifier, FFCLinear | FFCConv2d):
            return active_units([x], -3, False).double().mean(1)
        flat = isinstance(self.classifier, nn.Linear)
        stages = self.classifier.stages(x.flatten(1) if flat else x)
        stages = [stage[..., None, None] for stage in stages] if flat else stages
        return active_units(stages, -3, self.classifier.interpolate).double().mean(1)

    @property
    def is_ffc(self) -> bool:
        return isinstance(self.classifier, FFCLinear | FFCConv2d) and self.classifier.num_filters > 0


@dataclass(frozen=True)
class Explained:
    """One output of one box or region.

    Attributes:
        output: 1 for Out1.
        label, confidence: its own class and the class's probability, over a region the most frequent class there and
            its mean probability.
        target: label of the class that the map is of, ``label`` unless another was asked for.
        units: mean number of active units of the feature that it classifies, of ``of_units``.
        map: (h, w) fp32, or (t, h, w) of a clip; not negative, unscaled.
    """

    output: int
    label: int
    confidence: float
    target: int
    units: float
    of_units: int
    map: np.ndarray


def explain(
    head: Head, feature: Tensor, weights: Tensor, outputs: list[int], target: int | None = None, sample: int = 0
) -> list[Explained]:
    """Grad-CAM of some outputs.

    Args:
        feature: (N, A, h, w), or (N, A, t, h, w) of clips: the maps to explain.
        weights: (p, q), not negative, not all 0: the region of the classified map.
        outputs: from 1, Out1, to M.
        target: label of the class to explain; None: of each output its own.
        sample: the one whose maps are computed.
    """
    weights = (weights / weights.sum()).to(feature.device)
    with torch.no_grad():
        x = head.classified(feature)
        logits = head.outputs(x)[:, 0, : head.kept]  # (M, K, p, q)
        units = (head.units(x) * weights).sum((1, 2))
    found = []
    head.eval()
    for output in outputs:
        own, confidence = _decision(logits[output - 1], weights, head.threshold)
        chosen = own if target is None else target
        map_ = grad_cam(head, feature, OutputTarget(output - 1, chosen, weights), sample)
        found.append(Explained(output, own, confidence, chosen, float(units[output - 1]), x.shape[1], map_))
    return found


def _decision(logits: Tensor, weights: Tensor, threshold: float) -> tuple[int, float]:
    """The most frequent label of (K, p, q) logits in the region and its mean probability."""
    if len(logits) > 1:
        labels = elect(logits[None], 1)[1]
    else:
        labels = (logits[0] > torch.logit(torch.tensor(threshold, dtype=torch.float64))).long()
    shares = torch.zeros(max(2, len(logits)), device=logits.device, dtype=weights.dtype)
    label = int(shares.scatter_add_(0, labels.flatten(), weights.flatten()).argmax())
    logits = logits.float()
    probability = logits.softmax(0)[label] if len(logits) > 1 else (logits[0] if label else -logits[0]).sigmoid()
    return label, float((probability * weights).sum())


def choose_outputs(head: Head, wanted: list[int] | None) -> list[int]:
    """The outputs to explain. By default those that classify a stage of the chain, Out1, Out3, Out5, Out7 of the paper.

    Raises:
        ChoiceError: one of ``wanted`` is not there.
    """
    layer = head.classifier
    number = layer.num_outputs if head.is_ffc else 1
    if wanted is None:
        return list(range(1, number + 1, 2 if number > 1 and layer.interpolate else 1))
    wrong = [output for output in wanted if not 1 <= output <= number]
    if wrong:
        raise ChoiceError(f"--outputs {', '.join(map(str, wrong))}: the model has the outputs 1 to {number}")
    return list(dict.fromkeys(wanted))
