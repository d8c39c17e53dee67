"""An analysis as files: ``analysis.json``, the plots, and the label maps of the gallery."""

import json
import math
from pathlib import Path

from .plots import draw_all

NAME = "analysis.json"


def write(report: dict, folder: Path) -> None:
    """Write a report of :class:`ffc_dense.diagnosis.analysis.Analysis` into ``folder``, which exists.

    Label maps (``maps`` of an image of the gallery) become 8-bit PNGs of class indices, 255 for none, in
    ``gallery/``; the report names them, relative to ``folder``. nan becomes null.
    """
    images = {id(entry): entry for entries in report["gallery"].values() for entry in entries}
    for number, entry in enumerate(images.values()):
        if "maps" in entry:
            from PIL import Image

            (folder / "gallery").mkdir(exist_ok=True)
            maps = entry.pop("maps")
            entry["label_maps"] = {name: f"gallery/{number:02d}_{name}.png" for name in maps}
            for name, labels in maps.items():
                Image.fromarray(labels).save(folder / entry["label_maps"][name])
    report = {**_without_nan(report), "pictures": draw_all(report, folder)}
    (folder / NAME).write_text(json.dumps(report, indent=1) + "\n")


def _without_nan(node):
    if isinstance(node, dict):
        return {key: _without_nan(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_nan(value) for value in node]
    return None if isinstance(node, float) and math.isnan(node) else node
