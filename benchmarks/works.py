"""One line of the benchmark, and how its samples become ratios."""

import importlib.util
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

import ffc_dense

FFC = "FFC"
PLAIN, LITERAL, FLOOR = "plain layer", "naive implementation", "bandwidth floor"
COMPILED = f"torch.compile of the {LITERAL}"
STOCK, RESIZE = "stock", "resize + argmax"

Samples = dict[str, list[float]]  # candidate -> seconds (one per round) or bytes (one)


@dataclass
class Work:
    """A piece of work that FFC and its baselines do.

    Args:
        section: the benchmark's section, for ``--only``.
        name: the table's first column, with sizes and dtype.
        device: 'cpu' or 'cuda'.
        unit: 'time' or 'memory'.
        bars: baseline -> the largest allowed ratio FFC / baseline (the target); None: no target.
        measure: runs it and returns the samples of FFC and of every baseline.
        needs: modules that it requires.
        backend: set with ``ffc_dense.set_backend`` for this work only; '' keeps the process's backend.
    """

    section: str
    name: str
    device: str
    unit: str
    bars: dict[str, float | None]
    measure: Callable[[], Samples] = field(repr=False)
    needs: tuple[str, ...] = ()
    backend: str = ""

    def run(self) -> Samples:
        """``measure`` under the work's backend."""
        if not self.backend:
            return self.measure()
        previous = ffc_dense.get_backend()
        ffc_dense.set_backend(self.backend)
        try:
            return self.measure()
        finally:
            ffc_dense.set_backend(previous)


@dataclass
class Result:
    """The samples of a work, or the reason why it was not measured."""

    work: Work
    samples: Samples = field(default_factory=dict)
    reason: str = ""

    def median(self, candidate: str) -> float:
        return statistics.median(self.samples[candidate])

    def ratio(self, baseline: str) -> float:
        """Median of FFC divided by the median of ``baseline``."""
        return self.median(FFC) / self.median(baseline)

    def spread(self, baseline: str) -> tuple[float, float] | None:
        """First and third quartile of the ratios of single rounds; None if there was only one round."""
        ours, theirs = self.samples[FFC], self.samples[baseline]
        if len(ours) != len(theirs) or len(ours) < 2:
            return None
        low, _, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4, method="inclusive")
        return low, high


def why_not(work: Work, sections: list[str], devices: list[str]) -> str:
    """The reason why ``work`` cannot be measured here; '' if it can."""
    if work.section not in sections:
        return "left out by --only"
    if work.device not in devices:
        return "left out by --device"
    if work.device == "cuda" and not torch.cuda.is_available():
        return "no CUDA device"
    if work.backend and not hasattr(ffc_dense, "set_backend"):
        return "this version of ffc_dense has no backends"
    missing = [name for name in work.needs if importlib.util.find_spec(name) is None]
    return f"{missing[0]} is not installed" if missing else ""


def bytes_of(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize
