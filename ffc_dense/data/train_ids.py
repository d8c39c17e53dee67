"""labelTrainIds from the polygons, drawn by cityscapesscripts' json2labelImg as its createTrainIdLabelImgs does."""

import contextlib
import io
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .cityscapes_files import LABELS, POLYGONS, TRAIN_IDS, list_split
from .layout import SPLITS
from .parallel import default_workers, over_files
from .report import Report


def make_train_ids(
    root,
    report: Report,
    splits: Sequence[str] = SPLITS,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> int:
    """Write the labelTrainIds files of gtFine/SPLIT that are missing; returns how many were written.

    Identical to ``csCreateTrainIdLabelImgs``, except that it runs in several processes, leaves files that are there,
    replaces a file in one step, and reports polygons that cannot be drawn instead of stopping.

    Args:
        root: the folder with gtFine/.
        overwrite: make the files that are there again.

    Raises:
        ImportError: cityscapesscripts is not installed.
    """
    try:
        from cityscapesscripts.preparation.json2labelImg import json2labelImg
    except ImportError as error:
        raise ImportError(
            f"making labelTrainIds needs {error.name!r}; run: pip install cityscapesscripts"
        ) from error
    stems = []
    for split in splits:
        files = list_split(Path(root), split)
        wanted = files.labels[POLYGONS] - (set() if overwrite else files.labels[TRAIN_IDS])
        stems += [str(Path(root) / LABELS / split / stem) for stem in sorted(wanted)]
    written = 0
    draw = partial(_draw, json2labelImg)
    for stem, problem in over_files(draw, stems, workers or default_workers(), "labelTrainIds", progress):
        if problem:
            report.add("polygons", stem + POLYGONS, f"labelTrainIds were not made ({problem})",
                       "unpack gtFine_trainvaltest.zip again")
        else:
            written += 1
    report.note(f"wrote {written:,} labelTrainIds files")
    return written


def _draw(json2labelImg, stem: str) -> tuple[str, str]:
    """(stem, what went wrong or '')."""
    folder, name = os.path.split(stem)
    partial_file = os.path.join(folder, f".{name}.{os.getpid()}.png")  # .png: Pillow goes by it
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            json2labelImg(stem + POLYGONS, partial_file, "trainIds")
        os.replace(partial_file, stem + TRAIN_IDS)
    except SystemExit:  # cityscapesscripts' way to refuse a label that it does not know
        return stem, said.getvalue().strip().partition("\n")[0]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk is full or not writable: that will not be better with the next file
        return stem, f"{type(error).__name__}: {error}"
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial_file)
    return stem, ""
