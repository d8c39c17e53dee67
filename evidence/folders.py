"""The folder of a run, and the names of its files.

``WORK/data``: the datasets. ``WORK/TASK/HEAD/ITERATIONS/seedN``: a run, with its framework's files and

* ``key.txt``: the settings that it started with, :attr:`.plan.Run.key`; with other settings it starts over;
* ``curve.json``: {iteration: score on the held-out images of the learning curve};
* ``dump.pt``: the logits of the test and the held-out images, see ``train_*.py``;
* ``scores.json``: written last: the run is done.
"""

import json
from pathlib import Path

from ffc_dense.reliability.saving import write_text_atomically

from .plan import Run

ROOT = Path(__file__).resolve().parent.parent


def folder(work: Path, run: Run) -> Path:
    return work / run.name


def data(work: Path) -> Path:
    return work / "data"


def scores(work: Path, run: Run) -> dict | None:
    """The run's ``scores.json``; None if it is not done, or was done with other settings."""
    file = folder(work, run) / "scores.json"
    found = json.loads(file.read_text()) if file.exists() else None
    return found if found is not None and found["key"] == run.key else None


def write_json(path: Path, value: dict) -> None:
    write_text_atomically(json.dumps(value, indent=1) + "\n", path)
