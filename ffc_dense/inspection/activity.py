"""How many units of a feature are active, stage by stage (paper Table 1). Shape shorthand as in ``filtering.py``."""

from itertools import pairwise

import torch
from torch import Tensor


def output_features(num_filters: int, interpolate: bool) -> list[str]:
    """The name of the feature that each output classifies: F0, (F0 + F1)/2, F1, ..."""
    names = ["F0"]
    for i in range(1, num_filters + 1):
        names += [f"(F{i - 1}+F{i})/2"] * interpolate + [f"F{i}"]
    return names


def active_units(stages: list[Tensor], dim: int, interpolate: bool) -> Tensor:
    """The number of units > 0 of the feature of every output.

    Args:
        stages: F_0 ... F_n, features along ``dim``; what :class:`ffc_dense.FeatureFilter` returns.
        interpolate: count the averages of neighbouring stages too.

    Returns:
        int64 (M, ...): per output and sample or pixel, at most C.
    """
    counts = [(stages[0] > 0).sum(dim)]
    for previous, current in pairwise(stages):
        if interpolate:
            # The sign of the average, without the rounding of the sum.
            counts.append((previous.to(current.dtype) > -current).sum(dim))
        counts.append((current > 0).sum(dim))
    return torch.stack(counts)


class Activity:
    """The mean number of active units of each output's feature over a stream."""

    def __init__(self, num_outputs: int):
        self.positions = 0
        self.active = torch.zeros(num_outputs, dtype=torch.int64)

    def update(self, counts: Tensor) -> None:
        """Add what :func:`active_units` returned, (M, ...)."""
        self.positions += counts[0].numel()
        self.active += counts.flatten(1).sum(1).cpu()

    def means(self) -> list[float | None]:
        """Per output; None before any sample."""
        return [count / self.positions if self.positions else None for count in self.active.tolist()]
