"""The panels of a detection image of the gallery: proposals with what Out1, the vote and the truth call them."""

from .markup import Markup, tag

PANELS = (("Out1", "before"), ("Vote", "after"), ("Truth", "truth"))
CHARACTER, LINE = 0.62, 1.25  # of a label's font size: width of a character, height of a line


def panels(entry: dict, photo: Markup, title: str) -> list[tuple[str, Markup]]:
    """(name, SVG) of Out1, vote and truth. Right and wrong classes have a tick and a cross before their name."""
    size = max(entry["width"], entry["height"]) / 24
    found = []
    for name, key in PANELS:
        labels = [_text(box, key) for box in entry["boxes"]]
        parts = [photo, *(_rectangle(box, size) for box in entry["boxes"])]
        parts += _labels(entry, labels, size)
        told = ", ".join(dict.fromkeys(labels)) or "no box"
        found.append((name, tag("svg", parts, viewBox=f"0 0 {entry['width']} {entry['height']}", role="img",
                                aria_label=f"{title}, {name}: {told}", class_="panel")))  # fmt: skip
    return found


def _text(box: dict, key: str) -> str:
    if key == "truth":
        return str(box["truth"])
    return f"{'✓' if box[key] == box['truth'] else '✗'} {box[key]}"


def _rectangle(box: dict, size: float) -> Markup:
    x0, y0, x1, y1 = box["box"]
    shape = dict(x=x0, y=y0, width=round(max(x1 - x0, 0), 2), height=round(max(y1 - y0, 0), 2))
    return tag("g", tag("rect", **shape, stroke_width=round(size / 5, 2), class_="halo"),
               tag("rect", **shape, stroke_width=round(size / 9, 2), class_=_kind(box)))  # fmt: skip


def _kind(box: dict) -> str:
    return "fixed" if box["kind"] == "fixed" else "broken"


def _labels(entry: dict, texts: list[str], size: float) -> list[Markup]:
    """A label per box where there is place: above it, in it, or below it. The table beside the large view has all."""
    taken: list[tuple[float, float, float, float]] = []
    parts = []
    for box, text in zip(entry["boxes"], texts, strict=True):
        text = text if len(text) <= 18 else text[:17] + "…"
        width, height = (len(text) + 1) * CHARACTER * size, LINE * size
        x0, y0, _, y1 = box["box"]
        left = max(0.0, min(x0, entry["width"] - width))
        for top in (y0 - height, y0, y1, y1 - height, y0 + height, y1 - 2 * height):
            place = (left, top, left + width, top + height)
            if 0 <= top <= entry["height"] - height and not any(_meet(place, other) for other in taken):
                taken.append(place)
                parts.append(tag("rect", x=round(left, 2), y=round(top, 2), width=round(width, 2),
                                 height=round(height, 2), class_=f"plate {_kind(box)}"))  # fmt: skip
                parts.append(tag("text", text, x=round(left + size * 0.3, 2), y=round(top + size * 0.95, 2),
                                 font_size=round(size, 2), class_="name"))  # fmt: skip
                break
    return parts


def _meet(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def rows(entry: dict) -> tuple[list[str], list[list]]:
    """Head and rows of the table beside the large view."""
    head = ["", "Out1", "confidence", "vote", "confidence", "truth"]
    return head, [
        [box["kind"], box["before"], f"{100 * box['before_confidence']:.0f} %", box["after"],
         f"{100 * box['after_confidence']:.0f} %", box["truth"]] for box in entry["boxes"]
    ]  # fmt: skip
