"""Line charts: where everything of an SVG stands. ``templates/macros.html`` draws it, the script adds a cursor."""

import math
from dataclasses import dataclass

from ..runs.logs import Points
from ..runs.run import CONTROL

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 10, 38
COLOURS, DASHES = 5, 4  # .s-c0 ... and .s-d0 ... in report.css: 20 styles beside those of STYLES
STYLES = {  # FFC's result is the vote's
    "stock": "s-stock", "FFC": "s-ffc", "vote": "s-ffc", "mean": "s-mean", CONTROL: "s-control",
}  # fmt: skip


@dataclass
class Series:
    """A line of a chart: ``style`` is a CSS class, from :func:`styles`."""

    label: str
    points: Points
    style: str


def styles(names: list[str]) -> dict[str, str]:
    """A colour and a dash for each name; the names in STYLES have the same ones in every chart."""
    others = [name for name in dict.fromkeys(names) if name not in STYLES]
    return STYLES | {name: f"s-c{i % COLOURS} s-d{i % DASHES}" for i, name in enumerate(others)}


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from ``low`` or below to ``high`` or above, about ``wanted`` of them."""
    if high <= low:
        margin = max(0.5, abs(low) / 10)  # 0.5 would be lost in the rounding of a huge value
        low, high = (low - margin, low + margin) if low else (0.0, 1.0)
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def chart(title: str, series: list[Series], least: float = 0.0, legend: bool = False) -> dict:
    """``series`` over iterations; the values' axis begins at 0 unless that would flatten the lines.

    Args:
        least: that the values' axis spans, so that it does not magnify noise.
        legend: in the figure, for a chart whose lines are its own.
    """
    ys = [y for each in series for _, y in each.points]
    low, high = min(ys), max(ys)
    if 0 <= low < 0.7 * high or low == high > 0:
        low = 0.0
    low = min(low, max(high - least, 0.0))
    last = max(x for each in series for x, _ in each.points)
    y_ticks = ticks(low, high)
    x_end = last or 1  # a log that has iteration 0 alone is a mark at the left edge

    def at(x: float, y: float) -> tuple[float, float]:
        down = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return round(LEFT + width * x / x_end, 1), round(TOP + height * (1 - down), 1)

    ends = "; ".join(f"{each.label} ends at {each.points[-1][1]:.4g}" for each in series)
    return {
        "title": title,
        "legend": [(each.label, each.style) for each in series] if legend else [],
        "text": f"{title} over iterations: {ends}",
        "size": (WIDTH, HEIGHT),
        "frame": dict(left=LEFT, right=WIDTH - RIGHT, top=TOP, bottom=HEIGHT - BOTTOM, x_end=x_end),
        "x_ticks": [(at(x, y_ticks[0])[0], f"{x:,.0f}") for x in ticks(0, last, 4) if x <= last],
        "y_ticks": [(at(0, y)[1], f"{y:.4g}") for y in y_ticks],
        "lines": [{"style": each.style, "places": [at(x, y) for x, y in each.points]} for each in series],
        "data": [
            {"label": each.label, "points": [[float(f"{x:.7g}"), float(f"{y:.5g}")] for x, y in each.points]}
            for each in series
        ],
    }
