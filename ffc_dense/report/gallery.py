"""The gallery as data: images where the vote changed most decisions of Out1 for better or worse."""

from itertools import chain, zip_longest
from pathlib import Path

from ..frameworks import by_name
from ..runs.analyses import Analysis
from . import panels
from .pictures import photograph


def chosen(report: dict, most: int) -> list[dict]:
    """At most ``most`` entries, each image once: in turn those with most fixed and most broken decisions."""
    turns = zip_longest(report["gallery"].get("fixed", []), report["gallery"].get("broken", []))
    images: dict[str, dict] = {}
    for entry in filter(None, chain.from_iterable(turns)):
        images.setdefault(entry["image"], entry)
    return sorted(list(images.values())[:most], key=lambda entry: -entry["fixed"])


def gallery(analysis: Analysis, number: int, most: int) -> dict | None:
    """A card per image; None if the vote changed nothing for better or worse.

    Args:
        number: of the gallery on the page.
        most: images shown.

    Raises:
        ValueError: a label map is missing, unreadable or outside of the analysis; the message names it.
        KeyError, TypeError: an entry is malformed.
    """
    report = analysis.report
    unit = report.get("unit") or by_name(report["framework"]).unit
    cards = [_card(analysis, entry, f"photo-{number}-{i}") for i, entry in enumerate(chosen(report, most))]
    colours = zip(report.get("classes", ()), panels.palette(report), strict=False) if unit == "pixels" else ()
    return {"number": number, "unit": unit, "cards": cards, "colours": list(colours)} if cards else None


def _card(analysis: Analysis, entry: dict, photo: str) -> dict:
    title = Path(entry["image"] or "unnamed").name
    shown = str(analysis.folder / entry["frames"]) if "frames" in entry else entry["image"]
    if "boxes" in entry:
        head = ["", "Out1", "confidence", "vote", "confidence", "truth"]
        rows = [
            [box["kind"], box["before"], f"{100 * box['before_confidence']:.0f} %", box["after"],
             f"{100 * box['after_confidence']:.0f} %", box["truth"]] for box in entry["boxes"]
        ]  # fmt: skip
        found = panels.of_boxes(entry, title)
    else:
        head = ["", "Out1", "vote", "pixels"]
        rows = [[each["kind"], each["before"], each["after"], f"{each['pixels']:,}"] for each in entry["changes"]]
        found = panels.of_maps(entry, title, analysis.folder, panels.palette(analysis.report))
    return {
        "title": title, "photo": photo, "href": photograph(shown, analysis.folder / "gallery"),
        "width": entry["width"], "height": entry["height"], "panels": found, "head": head, "rows": rows,
        "fixed": int(entry["fixed"]), "broken": int(entry["broken"]),
        "words": " ".join([title, *(str(cell) for row in rows for cell in row)]).lower(),
    }  # fmt: skip
