"""Learned ways to choose among the stages for each sample, fitted after the training on held-out samples.

The paper leaves this problem open: which output fits the input? The selectors use what FFC computes anyway: the
stages' logits, active units and deviations. They add some tens of parameters and no pass over the feature.

Shape shorthand: S stages, N samples (boxes or pixels), K classes (with the background), D statistics.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffc_dense.method.filtering import stage_weights

CHOSEN = "selector: the output that is best on held-out images"
HELD_OUT = "held-out images"  # not a rule: the head's score on them, which chooses its learning rate
EVERY_SCORE = ", every score"  # in detection: boxes of any score count, not only those of at least 0.05
STEPS = 100  # of L-BFGS; all fits end earlier
PENALTY = 1e-3  # on the squared distance from the start, FFC's mean: with few samples a fit stays there


@dataclass
class Samples:
    """``logits`` (S, N, K) and ``statistics`` (N, D)."""

    logits: Tensor
    statistics: Tensor

    @classmethod
    def of(cls, logits: Tensor, active: Tensor, deviation: Tensor) -> "Samples":
        """logits (S, N, K); active and deviation (S, N), see ``train_detection.py``."""
        log_probability = logits.log_softmax(-1)
        top = log_probability.topk(2, -1).values
        margin = top[..., 0] - top[..., 1]
        columns = [active, deviation.clamp(min=1e-6).log(), top[..., 0], margin.clamp(max=20)]
        return cls(logits, torch.cat(columns).T)


class StageWeights(nn.Module):
    """One weight per stage, the same for all samples; they start as in FFC's mean. S parameters.

    With one stage it is temperature scaling.
    """

    def __init__(self, train: Samples, interpolate: bool):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(stage_weights(len(train.logits) - 1, interpolate)))

    def forward(self, samples: Samples) -> Tensor:
        """log-probabilities (N, K)"""
        return torch.einsum("s,snk->nk", self.weights, samples.logits).log_softmax(-1)


class ClassStageWeights(StageWeights):
    """One weight for each stage and class, and a bias for each class. K (S + 1) parameters."""

    def __init__(self, train: Samples, interpolate: bool):
        super().__init__(train, interpolate)
        classes = train.logits.shape[-1]
        self.weights = nn.Parameter(self.weights.detach().unsqueeze(1).repeat(1, classes))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, samples: Samples) -> Tensor:
        return (torch.einsum("sk,snk->nk", self.weights, samples.logits) + self.bias).log_softmax(-1)


class Gate(nn.Module):
    """For each sample a distribution over the stages, linear in its statistics; it mixes their probabilities.

    (D + 2) S parameters, among them one temperature per stage.

    Args:
        hard: when applied, a sample uses its most likely stage alone; the fit is the same.
    """

    def __init__(self, train: Samples, interpolate: bool, hard: bool = False):
        super().__init__()
        stages = len(train.logits)
        self.hard = hard
        self.mean, self.scale = train.statistics.mean(0), train.statistics.std(0).clamp(min=1e-6)
        self.linear = nn.Linear(train.statistics.shape[1], stages)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor(stage_weights(stages - 1, interpolate)).log())
        self.log_temperature = nn.Parameter(torch.zeros(stages))

    def forward(self, samples: Samples) -> Tensor:
        gate = self.linear((samples.statistics - self.mean) / self.scale).log_softmax(-1)
        logits = samples.logits * self.log_temperature.exp()[:, None, None]
        log_probability = logits.log_softmax(-1)
        if self.hard and not self.training:
            choice = gate.argmax(-1)
            return log_probability[choice, torch.arange(len(choice))]
        return torch.logsumexp(gate.T.unsqueeze(-1) + log_probability, 0)


SELECTORS: dict[str, Callable[[Samples, bool], nn.Module]] = {
    "selector: stage weights": StageWeights,
    "selector: class and stage weights": ClassStageWeights,
    "selector: gate": Gate,
    "selector: hard gate": lambda train, interpolate: Gate(train, interpolate, hard=True),
}


def fit(selector: nn.Module, train: Samples, labels: Tensor) -> nn.Module:
    """Minimise the negative log-likelihood of ``labels`` (N,) by L-BFGS; returns the selector in eval mode."""
    parameters = list(selector.parameters())
    start = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        distance = sum((now - then).square().sum() for now, then in zip(parameters, start, strict=True))
        value = F.nll_loss(selector(train), labels) + PENALTY * distance
        value.backward()
        return value

    selector.train()
    optimizer.step(loss)
    if not all(math.isfinite(parameter.abs().sum().item()) for parameter in parameters):
        raise FloatingPointError("the fit of a selector diverged")
    return selector.eval()


def oracle(samples: Samples, labels: Tensor) -> Tensor:
    """log-probabilities (N, K) of each sample's best stage, which gives the true class most: an upper bound."""
    log_probability = samples.logits.log_softmax(-1)
    true = log_probability.gather(-1, labels.expand(len(log_probability), -1).unsqueeze(-1)).squeeze(-1)
    choice = true.argmax(0)
    return log_probability[choice, torch.arange(len(choice))]
