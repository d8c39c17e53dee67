"""The panels of an image of the gallery, as data: what Out1, the vote and the truth say, and where the vote differs."""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image

from .pictures import indexed

FIXED, BROKEN = (0, 114, 178), (213, 94, 0)  # Okabe-Ito
CHARACTER, LINE = 0.62, 1.25  # of a label's font size: width of a character, height of a line


def of_boxes(entry: dict, title: str) -> list[dict]:
    """Proposals with their classes. Right and wrong ones have a tick and a cross before their name."""
    size = max(entry["width"], entry["height"]) / 24
    found = []
    for name, key in (("Out1", "before"), ("Vote", "after"), ("Truth", "truth")):
        labels = [
            str(box[key]) if key == "truth" else f"{'✓' if box[key] == box['truth'] else '✗'} {box[key]}"
            for box in entry["boxes"]
        ]
        told = f"{title}, {name}: {', '.join(dict.fromkeys(labels)) or 'no box'}"
        boxes = [{"kind": _kind(box), "place": _rounded(box["box"])} for box in entry["boxes"]]
        found.append({"name": name, "text": told, "size": size, "boxes": boxes,
                      "labels": _labels(entry, labels, size), "layer": None})  # fmt: skip
    return found


def _kind(box: dict) -> str:
    return "fixed" if box["kind"] == "fixed" else "broken"


def _rounded(box: list) -> tuple[float, ...]:
    """Corners -> (x, y, width, height)."""
    x0, y0, x1, y1 = box
    return round(x0, 2), round(y0, 2), round(max(x1 - x0, 0), 2), round(max(y1 - y0, 0), 2)


def _labels(entry: dict, texts: list[str], size: float) -> list[dict]:
    """A label per box where there is place: above it, in it, or below it. The table beside the large view has all."""
    taken: list[tuple[float, float, float, float]] = []
    found = []
    for box, text in zip(entry["boxes"], texts, strict=True):
        text = text if len(text) <= 18 else text[:17] + "…"
        width, height = (len(text) + 1) * CHARACTER * size, LINE * size
        x0, y0, _, y1 = box["box"]
        left = max(0.0, min(x0, entry["width"] - width))
        for top in (y0 - height, y0, y1, y1 - height, y0 + height, y1 - 2 * height):
            place = (left, top, left + width, top + height)
            if 0 <= top <= entry["height"] - height and not any(_meet(place, other) for other in taken):
                taken.append(place)
                found.append({"kind": _kind(box), "text": text, "place": _rounded(list(place))})
                break
    return found


def _meet(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def of_maps(entry: dict, title: str, folder: Path, colours: list) -> list[dict]:
    """Label maps over the photograph, and what the vote fixed and broke.

    Raises:
        ValueError: a label map is missing, unreadable or outside ``folder``; the message names it.
    """
    names = {"Out1": "out1", "Vote": "vote", "Truth": "truth"}
    maps = {name: _read(folder, entry["label_maps"][key]) for name, key in names.items()}
    if len({labels.shape for labels in maps.values()}) != 1:
        raise ValueError(f"{folder}: the label maps of {title} differ in size; make the analysis anew")
    known = maps["Truth"] != 255
    right, was_right = maps["Vote"] == maps["Truth"], maps["Out1"] == maps["Truth"]
    changes = np.full_like(maps["Truth"], 255)
    changes[known & right & ~was_right] = 0
    changes[known & ~right & was_right] = 1
    told = f"{title}: {entry['fixed']:,} pixels fixed, {entry['broken']:,} broken"
    layers = [(name, f"{title}, labels of {name}", "labels", indexed(maps[name], colours)) for name in names]
    layers.append(("Fixed, broken", told, "changes", indexed(changes, [FIXED, BROKEN])))
    return [{"name": name, "text": text, "boxes": [], "labels": [], "layer": {"kind": kind, "href": href}}
            for name, text, kind, href in layers]  # fmt: skip


def _read(folder: Path, name: str) -> np.ndarray:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder}: the label map {name} is outside of the analysis; make it anew")
    try:
        with Image.open(path) as image:
            return np.array(image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read ({error}); make the analysis anew") from error


def palette(report: dict) -> list[tuple[int, int, int]]:
    """The dataset's colours; without them, hues a golden angle apart in three lightnesses."""
    known = report.get("palette")
    if known and all(isinstance(colour, list) and len(colour) == 3 for colour in known):
        return [tuple(int(value) & 255 for value in colour) for colour in known]
    colours = []
    for i in range(len(report.get("classes", ()))):
        channels = colorsys.hls_to_rgb(i * 0.381966 % 1, (0.35, 0.55, 0.75)[i % 3], 0.75)
        colours.append(tuple(round(255 * value) for value in channels))
    return colours
