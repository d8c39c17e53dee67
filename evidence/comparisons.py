"""Scores over seeds and their paired differences.

A series is {seed: score}. A difference counts when the 95 % interval of its mean, from the paired t-test, does not
hold 0; Holm's correction says which of the differences of one column still count when all of them are looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from ffc_dense.results.statistics import Paired, Summary, paired

from .record import Result

Series = dict[int, float]
LEVEL = 0.05


def series(results: Iterable[Result], task: str, head: str, iterations: int, rule: str) -> Series:
    """The scores of a rule over the seeds. Vote and mean of a head with one output are that output, 'out1'."""
    found = {}
    for result in results:
        run = result.run
        if (run.task, run.head, run.iterations) == (task, head, iterations):
            name = "out1" if rule in ("vote", "mean") and rule not in result.scores else rule
            if name in result.scores:
                found[run.seed] = result.scores[name]
    return found


def summary(values: Series) -> str:
    """'78.6 ± 0.5'"""
    if not values:
        return "no run yet"
    found = Summary.of(list(values.values()))
    return f"{found.mean:.1f}" + ("" if found.sd is None else f" ± {found.sd:.1f}")


@dataclass(frozen=True)
class Difference:
    """``ours`` - ``base`` over the seeds that both have; None if there is none."""

    pair: Paired | None

    @classmethod
    def of(cls, ours: Series, base: Series) -> "Difference":
        return cls(paired(base, ours))

    @property
    def counts(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.pair is not None and self.pair.interval is not None and not (
            self.pair.interval[0] <= 0 <= self.pair.interval[1]
        )  # fmt: skip

    def text(self, after_holm: bool) -> str:
        """'**+1.4** [+0.9, +1.9]': bold where it counts, with ° where it does not count after Holm's correction."""
        if self.pair is None:
            return ""
        mean = f"{self.pair.difference.mean:+.2f}"
        if self.pair.interval is None:
            return f"{mean} (n = {self.pair.difference.n})" if any_difference(self.pair) else "0"
        low, high = self.pair.interval
        mean = f"**{mean}**{'' if after_holm else '°'}" if self.counts else mean
        return f"{mean} [{low:+.2f}, {high:+.2f}]"


def any_difference(pair: Paired) -> bool:
    return pair.difference.mean != 0 or bool(pair.difference.sd)


def holm(values: list[float | None]) -> list[bool]:
    """Which of the p values are significant at LEVEL together; None takes no part.

    The smallest of m is compared with LEVEL / m, the next with LEVEL / (m - 1) and so on, until one is above.
    """
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    found = [False] * len(values)
    for rank, (value, place) in enumerate(order):
        if value > LEVEL / (len(order) - rank):
            break
        found[place] = True
    return found


def column(differences: list[Difference]) -> list[str]:
    """The texts of a table's column."""
    kept = holm([each.pair.t_p if each.pair else None for each in differences])
    return [each.text(after) for each, after in zip(differences, kept, strict=True)]


def reached(curve: dict[int, float], level: float) -> int | None:
    """The first iteration of a learning curve with a score of at least ``level``."""
    return next((iteration for iteration, score in sorted(curve.items()) if score >= level), None)


def best_single(results: list[Result], task: str, head: str, iterations: int) -> str:
    """The output, 'out1' ..., with the highest mean over the seeds: chosen with the scores known."""
    rules = {rule for result in results for rule in result.scores if rule.startswith("out")}
    means = {rule: fmean(found.values()) for rule in sorted(rules)
             if (found := series(results, task, head, iterations, rule))}  # fmt: skip
    return max(means, key=means.get, default="out1")
