"""One training run, and one evaluation of a checkpoint, of any framework."""

from dataclasses import dataclass, field
from pathlib import Path

from ..frameworks import Framework
from .files import is_number

STOCK = "stock"  # the name of the only test mode of a model without FFC
CONTROL = "FFC num_filters=0 normalize_input=True"  # the variant of the stock classifier behind one LayerNorm


@dataclass
class Run:
    """A training run: what it trained, its progress and its scores.

    Args:
        folder: the training's output folder.
        framework: the row of :mod:`ffc_dense.frameworks`.
        name: of the config file.
        key: equal for comparable runs: the same config apart from seed, paths and FFC.
        variant: 'stock', or 'FFC' with the options that are not the default.
        seed: None if the run drew one itself, or if the training folder is missing.
        iteration, max_iterations: trained so far and in all; None if the training folder is missing. Epochs, if the
            config counts them.
        scores: {test mode: {metric: percent}}, of the last checkpoint. Empty without any.
        notes: why scores were left out.
        datasets: names of the run's test sets; empty if unknown.
        unit: what ``iteration`` counts.
        identity_note: why key and seed can be those of another command; '' if they are the training's own.
        class_scores: {test mode: {class: percent}} of the main metric, if an evaluation gave them.
    """

    folder: Path
    framework: Framework
    name: str
    key: str
    variant: str
    seed: int | None
    iteration: int | None
    max_iterations: int | None
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    datasets: tuple[str, ...] = ()
    identity_note: str = ""
    class_scores: dict[str, dict[str, float]] = field(default_factory=dict)
    unit: str = "iteration"

    @property
    def finished(self) -> bool:
        return self.iteration is None or self.iteration >= (self.max_iterations or 0)

    @property
    def status(self) -> str:
        """Why the run has no scores; '' if it has some."""
        if not self.finished:
            return f"unfinished: {self.unit} {self.iteration:,} of {self.max_iterations:,}"
        if not self.scores:
            return "; ".join(["trained, not evaluated", *self.notes])
        return ""

    def add_scores(self, reduction: str, values: dict, source: Path) -> None:
        """Keep the metrics of the tables. A score that is not a number (no predictions) becomes a note."""
        found = {name: float(values[name]) for name in self.framework.metrics if is_number(values.get(name))}
        if self.framework.main_metric not in found:
            self.notes.append(f"{source.name} has no {self.framework.main_metric} for {reduction}")
            return
        self.scores.setdefault(reduction, {}).update(found)
        unit = self.framework.main_metric.removeprefix("m")
        nested = values.get(unit)  # {"IoU": {"car": 70.0}} of mmseg's evaluate; else "AP-car", "IoU.car"
        of_class = {f"{unit}.{name}": value for name, value in nested.items()} if isinstance(nested, dict) else values
        self.class_scores.setdefault(reduction, {}).update(
            {key[len(unit) + 1 :]: float(value) for key, value in of_class.items()
             if key.startswith((f"{unit}-", f"{unit}.")) and is_number(value)}
        )  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """The scores of a checkpoint from one command.

    Args:
        path: the file with the scores.
        checkpoint: as in the file; a relative path starts where the command was started.
        scores: {test mode: {metric: percent}}.
        dataset: its name; None if the file has none.
        left_out: why the scores do not count for the tables; '' if they do.
    """

    path: Path
    checkpoint: Path
    scores: dict[str, dict]
    dataset: str | None = None
    left_out: str = ""
