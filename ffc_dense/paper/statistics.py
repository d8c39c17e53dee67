"""Averages over seeds and paired tests between two sets of runs."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """n scores: their average and their sample standard deviation (n - 1; None for n < 2)."""

    n: int
    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: list[float]) -> "Summary":
        """Raises ValueError for no values."""
        if not values:
            raise ValueError("no scores to summarise")
        return cls(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Paired:
    """FFC - stock over the seeds that both have, in points.

    ``t_p`` and ``wilcoxon_p`` are two-sided; None without a test, and ``note`` says why. ``interval`` is the 95 %
    confidence interval of the average difference under the t-test's assumption. ``wilcoxon_floor`` is the smallest
    p that n differences without ties allow: 2 / 2^n.
    """

    seeds: tuple[int, ...]
    difference: Summary
    interval: tuple[float, float] | None
    t_p: float | None
    wilcoxon_p: float | None
    wilcoxon_floor: float | None
    note: str


def paired(stock: dict[int, float], ffc: dict[int, float]) -> Paired | None:
    """Compare {seed: score} with {seed: score}; None without a common seed. Tests require scipy."""
    seeds = tuple(sorted(stock.keys() & ffc.keys()))
    if not seeds:
        return None
    differences = [ffc[seed] - stock[seed] for seed in seeds]
    summary = Summary.of(differences)
    n = len(seeds)
    if n < 2:
        return Paired(seeds, summary, None, None, None, None, "no test: one pair")
    floor = 2.0 ** (1 - n)
    if not any(differences):
        return Paired(seeds, summary, None, None, None, floor, "no test: all differences are zero")
    try:
        from scipy import stats
    except ImportError:
        return Paired(seeds, summary, None, None, None, floor, "no test: it requires scipy (pip install scipy)")
    wilcoxon_p = float(stats.wilcoxon(differences).pvalue)
    if summary.sd <= 1e-12 * max(map(abs, differences)):  # rounding only: t would be infinite
        return Paired(seeds, summary, None, None, wilcoxon_p, floor, "no t-test: all differences are equal")
    test = stats.ttest_rel([ffc[seed] for seed in seeds], [stock[seed] for seed in seeds])
    low, high = map(float, test.confidence_interval(0.95))
    return Paired(seeds, summary, (low, high), float(test.pvalue), wilcoxon_p, floor, "")
