"""What the layouts share: finding the dataset under the given path, and how many images it should have."""

import json
from pathlib import Path

from .report import Report

SPLITS = ("train", "val")
MINI = "the mini dataset"  # whose numbers of images are expected, in the words of a message
MARKER, GENERATOR = "minidata.json", "ffc_dense.minidata"  # of ffc_dense/minidata, whose import needs scikit-image


def find_root(path: Path, name: str, folders: tuple[str, ...]) -> Path:
    """``path``, or ``path/name`` if only that has one of the layout's folders (as under DETECTRON2_DATASETS)."""
    below = path / name
    if not any((path / folder).is_dir() for folder in folders) and any((below / f).is_dir() for f in folders):
        return below
    return path


def look_below(path: Path, folders: tuple[str, ...]) -> str:
    """A remedy for a path that holds none of the layout's folders: the subfolders that do."""
    fitting = [
        str(child) for child in sorted(path.iterdir())
        if child.is_dir() and any((child / folder).is_dir() for folder in folders)
    ]
    if fitting:
        return f"give one of its subfolders: {', '.join(fitting)}"
    return "give the folder that holds them; docs/how-to/datasets.md shows the layout"


def expected_counts(
    root: Path,
    official: dict[str, int],
    given: dict[str, int | None],
    any_size: bool,
    report: Report,
    mini_classes: int = 1,
) -> tuple[dict[str, int | None], str]:
    """Images per split (None: any number), and whose numbers these are.

    Numbers that were given count first; then those that the mini dataset was made with, of each of ``mini_classes``; then
    the official ones.
    """
    counts, source = dict.fromkeys(official), "any number of images"
    marker = _marker(root)
    if marker is not None and marker.get("status") != "complete":
        report.add("incomplete", root / MARKER, "the mini dataset was not written to the end",
                   f"run again: python -m ffc_dense.minidata {marker.get('layout')} --root {root}")
    if not any_size:
        if marker is not None:
            source = MINI
            counts = {split: mini_classes * marker["parameters"][f"num_{split}"] for split in official}
        elif all(number is None for number in given.values()):
            source, counts = "the official dataset", dict(official)
    if any(number is not None for number in given.values()):
        source = "the numbers given"
        counts.update({split: number for split, number in given.items() if number is not None})
    return counts, source


def _marker(root: Path) -> dict | None:
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        parameters = marker["parameters"]
        return marker if marker["generator"] == GENERATOR and {"num_train", "num_val"} <= parameters.keys() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no marker, or somebody else's


def check_count(
    report: Report, path: Path, split: str, found: int, expected: int | None, source: str, files: str = "images"
) -> None:
    if expected is not None and found != expected:
        report.add("count", path, f"{split} has {found:,} {files}, but {expected:,} by {source}",
                   f"fetch what is missing or remove what is too much; for a subset, say --num-{split.split()[0]} "
                   f"{found} or --any-size")

