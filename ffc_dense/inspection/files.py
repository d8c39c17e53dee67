"""An analysis as files: ``analysis.json``, the plots, and the label maps or frames of the gallery."""

from pathlib import Path

from ..errors import CannotWrite
from ..reliability.saving import NotSaved
from ..text import without_nan, write_json
from .plots import draw_all

NAME = "analysis.json"


def write(report: dict, folder: Path) -> None:
    """Write a report of :class:`ffc_dense.inspection.analysis.Analysis` into ``folder``, which exists.

    Label maps (``maps`` of an image of the gallery) become 8-bit PNGs of class indices, 255 for none, in
    ``gallery/``, and frames of a video (``frames``, (H, W, 3) RGB) an RGB PNG; the report names them, relative to
    ``folder``. nan becomes null.

    ``analysis.json`` is written before anything is drawn, without ``pictures``, and again with them: whatever fails
    later, the numbers of the pass over the data are there.

    Raises:
        CannotWrite: a file cannot be written.
        UserError: matplotlib is missing.
    """
    maps = {}
    images = {id(entry): entry for entries in report["gallery"].values() for entry in entries}
    for number, entry in enumerate(images.values()):
        if "maps" in entry:
            labels = entry.pop("maps")
            entry["label_maps"] = {name: f"gallery/{number:02d}_{name}.png" for name in labels}
            maps |= {entry["label_maps"][name]: labels[name] for name in labels}
        if "frames" in entry:
            maps[name := f"gallery/{number:02d}_frames.png"] = entry["frames"]
            entry["frames"] = name
    report = {**without_nan(report), "pictures": []}
    numbers = "the analysis is lost"
    try:
        _write_report(report, folder)
        numbers = f"its numbers are in {folder / NAME}"
        _write_maps(maps, folder)
        report["pictures"] = draw_all(report, folder)
        _write_report(report, folder)
    except (OSError, NotSaved) as error:
        cause = error.__cause__ if isinstance(error, NotSaved) else error
        raise CannotWrite(
            f"{folder}: the analysis cannot be written ({cause}), {numbers}; make room, or choose another folder"
        ) from error


def _write_report(report: dict, folder: Path) -> None:
    write_json(report, folder / NAME)


def _write_maps(maps: dict, folder: Path) -> None:
    for name, labels in maps.items():
        from PIL import Image

        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(labels).save(folder / name)
