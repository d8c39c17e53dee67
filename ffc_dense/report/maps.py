"""The panels of a segmentation image of the gallery: label maps of Out1, the vote and the truth, and their changes."""

import colorsys
from pathlib import Path

from .markup import Markup, tag
from .pictures import indexed, pillow

FIXED, BROKEN = (0, 114, 178), (213, 94, 0)  # Okabe-Ito
MAPS = (("Out1", "out1"), ("Vote", "vote"), ("Truth", "truth"))


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


def panels(entry: dict, photo: Markup | None, title: str, folder: Path, colours: list) -> list[tuple[str, Markup]]:
    """(name, SVG) of the three label maps over the photograph, and of what the vote fixed and broke.

    Raises:
        ValueError: a label map is missing, unreadable or outside ``folder``; the message names it.
    """
    import numpy as np

    maps = {key: np.array(_read(folder, entry["label_maps"][key])) for _, key in MAPS}
    if len({labels.shape for labels in maps.values()}) != 1:
        raise ValueError(f"{folder}: the label maps of {title} differ in size; make the analysis anew")
    known = maps["truth"] != 255
    right, was_right = maps["vote"] == maps["truth"], maps["out1"] == maps["truth"]
    changes = np.full_like(maps["truth"], 255)
    changes[known & right & ~was_right] = 0
    changes[known & ~right & was_right] = 1
    found = [(name, _panel(entry, photo, indexed(maps[key], colours), f"{title}, labels of {name}", "labels"))
             for name, key in MAPS]  # fmt: skip
    told = f"{title}: {entry['fixed']:,} pixels fixed, {entry['broken']:,} broken"
    return [*found, ("Fixed, broken", _panel(entry, photo, indexed(changes, [FIXED, BROKEN]), told, "changes"))]


def _read(folder: Path, name: str):
    Image = pillow()
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder}: the label map {name} is outside of the analysis; make it anew")
    try:
        with Image.open(path) as image:
            return image.convert("L")
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read ({error}); make the analysis anew") from error


def _panel(entry: dict, photo: Markup | None, layer: str, told: str, kind: str) -> Markup:
    over = tag("image", href=layer, width=entry["width"], height=entry["height"], preserveAspectRatio="none",
               class_=kind)  # fmt: skip
    return tag("svg", photo, over, viewBox=f"0 0 {entry['width']} {entry['height']}", role="img", aria_label=told,
               class_="panel")  # fmt: skip


def rows(entry: dict) -> tuple[list[str], list[list]]:
    """Head and rows of the table beside the large view."""
    return ["", "Out1", "vote", "pixels"], [
        [change["kind"], change["before"], change["after"], f"{change['pixels']:,}"] for change in entry["changes"]
    ]


def key(report: dict) -> Markup:
    """The classes and their colours."""
    items = []
    for name, (red, green, blue) in zip(report.get("classes", ()), palette(report), strict=False):
        square = tag("rect", width=14, height=14, fill=f"#{red:02x}{green:02x}{blue:02x}")
        items.append(tag("li", tag("svg", square, width=14, height=14, aria_hidden="true"), " ", name))
    return tag("details", tag("summary", "Colours of the classes"), tag("ul", items, class_="legend"))
