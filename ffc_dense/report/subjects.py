"""What a report is about: runs with their logs, checkpoints and analyses, FFC beside its baseline."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..frameworks import Framework
from ..paper import compare, read_runs
from ..runs import analyses, checkpoints, logs
from ..runs.reading import is_run
from ..runs.run import STOCK, Run


@dataclass
class Subject:
    """A run and all that the report shows of it."""

    run: Run
    log: list[dict]
    parameters: int | None
    seconds: float | None
    analysis: analyses.Analysis | None

    @property
    def is_stock(self) -> bool:
        return self.run.variant == STOCK

    @property
    def name(self) -> str:
        return Path(self.run.folder).resolve().name

    def without_paths(self, text: str) -> str:
        """``text`` with the run's name in the place of its folder's path, which is one machine's."""
        folder = Path(self.run.folder)
        return text.replace(str(folder.absolute()), self.name).replace(str(folder.resolve()), self.name)

    @classmethod
    def of(cls, run: Run) -> "Subject":
        log = logs.entries(run)
        checkpoint = checkpoints.last_checkpoint(run)
        parameters = checkpoints.count_parameters(checkpoint) if checkpoint else None
        return cls(run, log, parameters, logs.training_seconds(log), analyses.find(run))


@dataclass
class Group:
    """Runs that are compared: those that differ in seed, paths and FFC alone, and a stock run given for them."""

    name: str
    framework: Framework
    subjects: list[Subject]
    warnings: list[str] = field(default_factory=list)

    def stock_of(self, subject: Subject) -> Subject | None:
        """The stock run with the seed of ``subject``, or the only one; None if there is none."""
        stock = [other for other in self.subjects if other.is_stock]
        same = [other for other in stock if other.run.seed == subject.run.seed]
        return next(iter(same or (stock if len(stock) == 1 else [])), None)


def collect(folders: Iterable[Path | str], stock: Iterable[Path | str] = ()) -> list[Group]:
    """The groups of the runs in ``folders``: a run's folder, an evaluation's, or one whose subfolders are runs.

    Args:
        stock: run folders of baselines. One belongs to the FFC runs of its config, or else to those of its
            framework that have no stock run; then the group has a warning.

    Raises:
        FileNotFoundError: a folder is missing or holds no run.
        ValueError: a file is malformed, two runs are the same, or a ``stock`` run has FFC or no partner.
    """
    stock_runs = read_runs(stock)
    for run in stock_runs:
        if run.variant != STOCK:
            raise ValueError(f"--stock: {run.folder} was trained as {run.variant}, expected a model without FFC")
    taken = {Path(run.folder).resolve() for run in stock_runs}
    runs = [run for run in read_runs(expand(folders)) if Path(run.folder).resolve() not in taken]
    groups = []
    for group in compare([*runs, *stock_runs]):
        members = [run for runs in group.runs.values() for run in runs]
        if members:
            groups.append(Group(group.name, group.framework, [Subject.of(run) for run in members]))
    return _lend(groups, taken)


def expand(folders: Iterable[Path | str]) -> list[Path]:
    """The folders, and in the place of one that is no run itself, its subfolders that are."""
    found: list[Path] = []
    for folder in map(Path, folders):
        inner = []
        if folder.is_dir() and not is_run(folder):
            inner = [place for place in sorted(folder.iterdir()) if place.is_dir() and is_run(place)]
        found += inner or [folder]
    return found


def _lend(groups: list[Group], taken: set[Path]) -> list[Group]:
    """Give the stock runs named with --stock that have no FFC run to the groups that have no stock run."""
    lone = [group for group in groups if all(subject.is_stock for subject in group.subjects)
            and any(Path(subject.run.folder).resolve() in taken for subject in group.subjects)]  # fmt: skip
    for lender in lone:
        needy = [group for group in groups if group.framework == lender.framework
                 and not any(subject.is_stock for subject in group.subjects)]  # fmt: skip
        if not needy:
            names = " and ".join(str(subject.run.folder) for subject in lender.subjects)
            raise ValueError(f"--stock: no FFC run of {lender.framework.name} without a stock run is there for {names}")
        for group in needy:
            group.subjects[:0] = lender.subjects
            names = ", ".join(subject.name for subject in lender.subjects)
            group.warnings.append(
                f"The settings of {names} and of the FFC run differ in more than FFC, or in how they were started, so "
                "the difference between their scores may have other causes."
            )
    return [group for group in groups if group not in lone]
