"""Scores over seeds and their paired differences.

A series is {seed: score}. A difference is significant when the 95 % interval of its mean, from the paired t-test, does
not include 0. Holm's correction tells which differences of a column are still significant when all are tested.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ffc_dense.paper.statistics import Paired, Summary, paired

from .record import Result

Series = dict[int, float]
LEVEL = 0.05
MINIMUM = 3


def series(results: Iterable[Result], task: str, head: str, iterations: int, rule: str) -> Series:
    """The scores of a rule over the seeds. For a head with one output, vote and mean are that output, 'out1'."""
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
    """``ours`` - ``base`` over their common seeds; None if there are none."""

    pair: Paired | None

    @classmethod
    def of(cls, ours: Series, base: Series) -> "Difference":
        return cls(paired(base, ours))

    @property
    def counts(self) -> bool:
        """Whether the interval excludes 0, to the two decimals shown; never with fewer than MINIMUM pairs."""
        if self.pair is None or self.pair.interval is None or self.pair.difference.n < MINIMUM:
            return False
        low, high = (round(end, 2) for end in self.pair.interval)
        return not low <= 0 <= high

    def text(self, after_holm: bool) -> str:
        """'**+1.4** [+0.9, +1.9]': bold if significant, with ° if it is not significant after Holm's correction."""
        if self.pair is None:
            return ""
        mean, n = f"{self.pair.difference.mean:+.2f}", self.pair.difference.n
        if not any_difference(self.pair):
            return "0"
        if self.pair.interval is None or n < MINIMUM:
            return f"{mean} (n = {n})"
        low, high = self.pair.interval
        mean = f"**{mean}**{'' if after_holm else '°'}" if self.counts else mean
        return f"{mean} [{low:+.2f}, {high:+.2f}]"


def any_difference(pair: Paired) -> bool:
    return pair.difference.mean != 0 or bool(pair.difference.sd)


def holm(values: list[float | None]) -> list[bool]:
    """Which p values are significant at LEVEL when tested together; None is not tested.

    The smallest of m is compared with LEVEL / m, the next with LEVEL / (m - 1) and so on, until one is above.
    """
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    found = [False] * len(values)
    for rank, (value, place) in enumerate(order):
        if value > LEVEL / (len(order) - rank):
            break
        found[place] = True
    return found


def column(differences: list[Difference], takes_part: list[bool]) -> list[str]:
    """The texts of a table's column; the differences that take part are corrected together."""
    kept = holm([each.pair.t_p if part and each.pair else None
                 for each, part in zip(differences, takes_part, strict=True)])  # fmt: skip
    pairs = zip(differences, kept, takes_part, strict=True)
    return [each.text(after or not part) for each, after, part in pairs]


def reached(curve: dict[int, float], level: float) -> int | None:
    """The first iteration of a learning curve with a score of at least ``level``."""
    return next((iteration for iteration, score in sorted(curve.items()) if score >= level), None)
