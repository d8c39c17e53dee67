"""Where a run is, and what its files are called.

``WORK/data``: the datasets. ``WORK/TASK/HEAD/ITERATIONS/seedN``: a run, with its framework's own files and

* ``curve.json``: {iteration: score on the held-out images of the learning curve};
* ``dump.pt``: what ``train_*.py`` kept of the test images, see there;
* ``scores.json``: the last one, which says that the run is done.
"""

import json
import time
from pathlib import Path

from ffc_dense.saving import write_text_atomically

from .plan import Run

ROOT = Path(__file__).resolve().parent.parent
TRAIN_IMAGES, TEST_IMAGES, HELD_OUT_IMAGES = 800, 200, 100  # held-out: for learning curves and for fitting selectors


def folder(work: Path, run: Run) -> Path:
    return work / run.name


def data(work: Path) -> Path:
    return work / "data"


def scores(work: Path, run: Run) -> dict | None:
    """The run's ``scores.json``; None if it is not done."""
    file = folder(work, run) / "scores.json"
    return json.loads(file.read_text()) if file.exists() else None


def write_json(path: Path, value: dict) -> None:
    write_text_atomically(json.dumps(value, indent=1) + "\n", path)


class Clock:
    """Seconds of training, over interruptions: what was spent before is read from ``seconds.json``."""

    def __init__(self, run_folder: Path):
        self.file = run_folder / "seconds.json"
        self.before = json.loads(self.file.read_text()) if self.file.exists() else 0.0
        self.start = time.time()

    def seconds(self) -> float:
        return self.before + time.time() - self.start

    def keep(self) -> None:
        write_json(self.file, self.seconds())
