"""The analysis of a run (``ffc-dense analyze``): its files, or the command that makes it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..inspection.files import NAME
from .checkpoints import last_checkpoint
from .files import read_json
from .reading import reader_of
from .run import Run

NEEDED = ("framework", "metric", "decision", "images", "decisions", "outputs", "gallery", "pictures", "class_gain")
ROW = ("name", "feature", "active_units", "mean_confidence", "true_probability", "ece", "won", "changed", "fixed",
       "broken")  # fmt: skip


@dataclass
class Analysis:
    """``analysis.json`` and the folder that its pictures are relative to."""

    folder: Path
    report: dict
    others: list[Path] = field(default_factory=list)  # folders of analyses that are not shown
    newer: Path | None = None  # the run's last checkpoint, if it was written after the analysis


def find(run: Run) -> Analysis | None:
    """The analysis in a direct subfolder of the run, of the latest checkpoint if there are several.

    Analyses older than the run's last checkpoint, by the files' times, come last.

    Raises:
        ValueError: it is malformed; the message names the file.
    """
    checkpoint = last_checkpoint(run)
    trained_at = checkpoint.stat().st_mtime if checkpoint else 0.0

    def rank(path: Path) -> tuple[bool, float, float]:
        analysed_at = path.stat().st_mtime
        return analysed_at >= trained_at, _trained(path.parent), analysed_at

    paths = sorted(Path(run.folder).glob(f"*/{NAME}"), key=rank)
    if not paths:
        return None
    newer = checkpoint if paths[-1].stat().st_mtime < trained_at else None
    return Analysis(paths[-1].parent, read(paths[-1]), [path.parent for path in paths[:-1]], newer)


def read(path: Path) -> dict:
    report = read_json(path)
    lacking = [key for key in NEEDED if key not in report]
    lacking += [f"outputs.{key}" for row in report.get("outputs", []) for key in (*ROW, report.get("metric"))
                if not isinstance(row, dict) or key not in row][:1]  # fmt: skip
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(map(str, lacking))}; run tools/analyze_outputs.py again")
    return report


def _trained(folder: Path) -> float:
    """The iterations of an analysed checkpoint, by the folder's name; without a number infinity."""
    found = re.search(r"_(\d+)$", folder.name)
    return int(found[1]) if found else float("inf")


def command(run: Run) -> list[str]:
    """The arguments for ``tools/analyze_outputs.py`` that analyse the run's last checkpoint.

    Raises:
        FileNotFoundError: a required file is not in the run's folder; the message names it.
    """
    folder = Path(run.folder)
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        raise FileNotFoundError(f"{folder} holds no checkpoint to analyse: {run.status or 'it was removed'}")
    return reader_of(run.framework).analysis_arguments(run, checkpoint)
