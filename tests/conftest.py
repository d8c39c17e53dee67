"""FFC spelled out from the paper: slow, in elementary operations, independent of the package's own functions."""

import builtins
import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

# Minutes each, in few tests: they come first, so that no process of `make test` is left with one of them at the end.
LONGEST_FILES = ("test_training.py", "test_readme.py", "test_distributed.py", "test_demo.py", "test_training_coco.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST_FILES)  # stable: the rest keeps its order


@pytest.fixture(autouse=True)
def imports_restored(monkeypatch):
    """detectron2's LazyConfig leaves its own ``__import__`` behind when a config fails."""
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def literal() -> SimpleNamespace:
    """The reference functions: stages, outputs, mean, winners, ballots."""
    return SimpleNamespace(stages=stages, outputs=outputs, mean=mean, winners=winners, ballots=ballots)


@pytest.fixture
def scramble():
    """Give every parameter of the filters its own random value, so that no two filters are alike."""

    def scramble_filters(layer: nn.Module) -> nn.Module:
        with torch.no_grad():
            for norm in layer.modules():
                if isinstance(norm, nn.LayerNorm):
                    norm.weight.normal_(1.0, 0.3)
                    norm.bias.normal_(0.0, 0.3)
        return layer

    return scramble_filters


def stages(x: Tensor, norms: list[nn.LayerNorm], dim: int) -> list[Tensor]:
    """[F_0, ..., F_n]: F_0 = x, F_i = ReLU(LayerNorm_i(F_{i-1})) over the features along ``dim`` < 0."""
    found = [x]
    for norm in norms:
        centred = found[-1] - found[-1].mean(dim, keepdim=True)
        deviation = ((centred * centred).mean(dim, keepdim=True) + norm.eps).sqrt()
        per_feature = [-1] + [1] * (-dim - 1)
        affine = centred / deviation * norm.weight.reshape(per_feature) + norm.bias.reshape(per_feature)
        found.append(affine.relu())
    return found


def outputs(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """[Out1, Out2, ...] of an FFC layer: one classification per stage and per average of two neighbouring stages."""
    dim = -3 if isinstance(layer, nn.Conv2d) else -1
    chain = stages(x, list(layer.filters), dim)
    features = []
    for i, feature in enumerate(chain):
        if i > 0 and layer.interpolate:
            features.append((chain[i - 1] + feature) / 2)
        features.append(feature)
    weight = layer.weight.flatten(1)
    found = [torch.tensordot(feature, weight, dims=([dim], [1])).movedim(-1, dim) for feature in features]
    if layer.bias is not None:
        found = [logits + layer.bias.reshape([-1] + [1] * (-dim - 1)) for logits in found]
    return found


def mean(layer: nn.Module, x: Tensor) -> Tensor:
    """The training result: the mean of every output's logits."""
    found = outputs(layer, x)
    return sum(found) / len(found)


def winners(logits: list[list[float]], rounding: float = 0.0) -> list[int]:
    """The outputs that may win the vote over one sample, in order; the first is the winner if nothing is rounded.

    Args:
        logits: K numbers per output.
        rounding: confidences that differ by no more than this count as equal.
    """
    labels, confidences = [], []
    for scores in logits:
        if len(scores) == 1:
            p = 1 / (1 + math.exp(-abs(scores[0])))
            labels.append(scores[0] > 0)
            confidences.append(max(p, 1 - p))
        else:
            labels.append(scores.index(max(scores)))
            confidences.append(1 / math.fsum(math.exp(score - max(scores)) for score in scores))
    votes = Counter(labels)
    tied = [label for label in votes if votes[label] == max(votes.values())]
    if len(tied) == 1:
        electable = [m for m, label in enumerate(labels) if label == tied[0]]
    else:
        electable = [m for m, label in enumerate(labels) if label in tied]
    best = max(confidences[m] for m in electable)
    return [m for m in electable if confidences[m] >= best - rounding]


def ballots(stacked: Tensor, class_dim: int) -> list[list[list[float]]]:
    """(M, ..., K, ...) -> for every sample or pixel, in order, the K numbers of each of the M outputs."""
    last = stacked.detach().double().movedim(class_dim, -1)
    return last.reshape(last.shape[0], -1, last.shape[-1]).transpose(0, 1).tolist()
