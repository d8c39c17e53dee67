"""docs/evidence.json: every score of every run, the source of the report."""

import json
from dataclasses import dataclass
from pathlib import Path

from ffc_dense.errors import UserError
from ffc_dense.reliability.saving import write_text_atomically

from . import folders
from .plan import PLAN, Run

METRIC = {"detection": "AP", "pspnet": "mIoU", "deeplabv3": "mIoU", "classification": "Top-1"}
TITLES = {
    "detection": "Faster R-CNN R18-FPN",
    "pspnet": "PSPNet R18-d8",
    "deeplabv3": "DeepLabV3 R18-d8",
    "classification": "ResNet-18",
}


@dataclass(frozen=True)
class Result:
    """The results of a run: ``scores`` {rule: score}, ``curve`` {iteration: score}, in the task's metric, 0 to 100.

    ``repeat`` is 1 for a run that was repeated on another processor, whose rounding leads to another result.
    """

    run: Run
    scores: dict[str, float]
    curve: dict[int, float]
    repeat: int = 0

    @property
    def identity(self) -> tuple[Run, int]:
        return self.run, self.repeat


def of_repeat(results: list[Result], repeat: int) -> list[Result]:
    return [result for result in results if result.repeat == repeat]


def collect(work: Path) -> list[Result]:
    """The finished runs of the plan, in its order."""
    found = []
    for run in PLAN:
        done = folders.scores(work, run)
        if done is not None:
            scores = {rule: round(metrics[METRIC[run.task]], 3) for rule, metrics in done["scores"].items()}
            curve = {int(iteration): round(score, 3) for iteration, score in done["curve"].items()}
            found.append(Result(run, scores, curve))
    return found


def merged(new: list[Result], old: list[Result]) -> list[Result]:
    """``new``, and the results of ``old`` that are not in it."""
    known = {result.identity for result in new}
    return new + [result for result in old if result.identity not in known]


def refuse_loss(kept: set[tuple[Run, int]], file: Path) -> None:
    """Raise a :class:`UserError` if ``file`` has results of the plan with other identities than ``kept``."""
    lost = {result.identity for result in read_record(file)} - kept if file.exists() else set()
    if lost:
        names = ", ".join(sorted(run.name for run, _ in lost)[:3])
        raise UserError(f"{file.name} has {len(lost)} runs that would be lost ({names} ...): --merge keeps them")


def write_record(results: list[Result], file: Path) -> None:
    """One run per line."""
    lines = []
    for result in sorted(results, key=lambda result: (result.run.name, result.repeat)):
        again = {"repeat": result.repeat} if result.repeat else {}
        entry = {**vars(result.run), **again, "key": result.run.key, "scores": result.scores, "curve": result.curve}
        lines.append(json.dumps(entry))
    write_text_atomically("[\n" + ",\n".join(lines) + "\n]\n", file)


def read_record(file: Path) -> list[Result]:
    """The results of :func:`write_record` that belong to the plan and to its present settings.

    Raises:
        UserError: there is no such file.
    """
    if not file.exists():
        raise UserError(f"{file} does not exist: `python -m evidence` writes it when its runs are done")
    found = []
    for entry in json.loads(file.read_text()):
        curve = {int(iteration): score for iteration, score in entry["curve"].items()}
        run = Run(*(entry[name] for name in ("task", "head", "iterations", "seed")))
        if run in PLAN and entry["key"] == run.key:
            found.append(Result(run, entry["scores"], curve, entry.get("repeat", 0)))
    return found
