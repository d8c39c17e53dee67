"""Runs, grouped into stock against FFC."""

from collections import Counter
from dataclasses import dataclass, field

from ..frameworks import Framework
from ..runs.run import STOCK, Run
from .systems import SYSTEMS, System, stock_name, system_of


@dataclass
class Comparison:
    """Every run of one config, by variant: ``runs['stock']``, ``runs['FFC']``, ``runs['FFC num_filters=2']``."""

    framework: Framework
    name: str
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @property
    def system(self) -> System | None:
        """The row of the paper's tables for this config."""
        return system_of(self.name)

    @property
    def variants(self) -> list[str]:
        """The FFC variants; always the published one, unless the paper's row has none."""
        published = [] if self.system and not self.system.ffc and "FFC" not in self.runs else ["FFC"]
        return [*published, *sorted(name for name in self.runs if name not in (STOCK, "FFC"))]

    def scores(self, variant: str, reduction: str, metric: str) -> list[float]:
        """The score of every run that has it, with or without a known seed."""
        return [
            run.scores[reduction][metric]
            for run in self.runs.get(variant, [])
            if metric in run.scores.get(reduction, {})
        ]

    def by_seed(self, variant: str, reduction: str, metric: str) -> dict[int, float]:
        return {
            run.seed: run.scores[reduction][metric]
            for run in self.runs.get(variant, [])
            if run.seed is not None and metric in run.scores.get(reduction, {})
        }

    def reductions(self, variant: str) -> list[str]:
        """The test modes in which a run of the variant was evaluated: vote, mean, out1, out2, ..."""
        found = {name for run in self.runs.get(variant, []) for name in run.scores}
        order = {"vote": 0, "mean": 1}
        return sorted(found, key=lambda name: (order.get(name, 2), len(name), name))


def without_doubles(runs: list[Run], left_out: list[str]) -> list[Run]:
    """The runs whose config and seed are unique; each set of equal runs becomes a line in ``left_out``."""
    equal: dict[tuple, list[Run]] = {}
    for run in runs:
        equal.setdefault((run.framework, run.key, run.variant, run.seed), []).append(run)
    doubled = [same for (*_, seed), same in equal.items() if seed is not None and len(same) > 1]
    for same in doubled:
        left_out.append(
            f"{' and '.join(str(run.folder) for run in same)} are all {same[0].name}, {same[0].variant}, seed "
            f"{same[0].seed}: name only one of them"
        )
    return [run for run in runs if not any(run is other for same in doubled for other in same)]


def compare(runs: list[Run]) -> list[Comparison]:
    """Group runs that differ only in seed, paths and FFC. The paper's systems come first, with or without runs.

    Raises:
        ValueError: two runs have the same config and the same seed; the message names both folders.
    """
    groups: dict[tuple, Comparison] = {}
    for run in sorted(runs, key=lambda run: (run.variant != STOCK, str(run.folder))):
        # The first run, a stock one if there is any, gives the name.
        group = groups.setdefault((run.framework, run.key), Comparison(run.framework, stock_name(run.name)))
        group.runs.setdefault(run.variant, []).append(run)
    found = sorted(groups.values(), key=lambda group: (group.framework.name, group.name))
    taken = Counter()
    for group in found:
        _check_seeds(group)
        lengths = {run.max_iterations for runs in group.runs.values() for run in runs}
        if group.system and lengths != {group.system.iterations}:  # shortened on the command line
            unit = next(run.unit for runs in group.runs.values() for run in runs)
            group.name += f" ({'/'.join(map(str, lengths))} {unit}s)"
        taken[group.name] += 1
        if taken[group.name] > 1:  # the same file, other settings on the command line
            group.name += f" (settings {taken[group.name]})"
    named = {group.name for group in found}
    missing = [Comparison(system.framework, system.config) for system in SYSTEMS if system.config not in named]
    return sorted([*missing, *found], key=lambda group: (_rank(group), group.framework.name, group.name))


def _check_seeds(group: Comparison) -> None:
    for variant, runs in group.runs.items():
        by_seed: dict[int, Run] = {}
        for run in runs:
            if run.seed is None:
                continue
            if run.seed in by_seed:
                raise ValueError(
                    f"{run.folder} and {by_seed[run.seed].folder} are both {group.name}, {variant}, seed {run.seed}: "
                    "leave one out"
                )
            by_seed[run.seed] = run


def _rank(group: Comparison) -> int:
    return SYSTEMS.index(group.system) if group.system else len(SYSTEMS)
