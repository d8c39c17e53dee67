"""A line chart as SVG. The page's script adds a cursor that reads the values."""

import json
import math
from dataclasses import dataclass

from ..runs.logs import Points
from .markup import Markup, tag

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 10, 38
STYLES = 8  # .s0 ... .s7 in report.css: an Okabe-Ito colour and a dash pattern each


@dataclass
class Series:
    """A line: ``style`` is 0 ... STYLES - 1."""

    label: str
    points: Points
    style: int


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from ``low`` or below to ``high`` or above, about ``wanted`` of them."""
    if high <= low:
        margin = max(0.5, abs(low) / 10)  # 0.5 would be lost in the rounding of a huge value
        low, high = (low - margin, low + margin) if low else (0.0, 1.0)
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def chart(title: str, series: list[Series]) -> Markup:
    """A figure of ``series`` over iterations; the values axis begins at 0 unless that would flatten the lines."""
    xs = [x for each in series for x, _ in each.points]
    ys = [y for each in series for _, y in each.points]
    low, high = min(ys), max(ys)
    if 0 <= low < 0.7 * high or low == high > 0:
        low = 0.0
    last = max(xs)
    x_ticks, y_ticks = ticks(0, last, 4), ticks(low, high)
    x_end = last or 1  # a log that has iteration 0 alone is a mark at the left edge
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        down = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(LEFT + width * x / x_end, 1), round(TOP + height * (1 - down), 1)

    parts = []
    for value in y_ticks:
        y = at(0, value)[1]
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{value:.4g}", x=LEFT - 6, y=y + 4, class_="tick end"))
    for value in (value for value in x_ticks if value <= last):
        parts.append(tag("text", f"{value:,.0f}", x=at(value, 0)[0], y=HEIGHT - BOTTOM + 16, class_="tick middle"))
    parts.append(tag("text", "iterations", x=LEFT + width / 2, y=HEIGHT - 4, class_="tick middle"))
    for each in series:
        places = [at(x, y) for x, y in each.points]
        if len(places) > 1:
            parts.append(tag("polyline", points=" ".join(f"{x},{y}" for x, y in places), class_=f"line s{each.style}"))
        parts.append(tag("circle", cx=places[-1][0], cy=places[-1][1], r=3.5, class_=f"mark s{each.style}"))
    ends = "; ".join(f"{each.label} ends at {each.points[-1][1]:.4g}" for each in series)
    data = [
        {"label": each.label, "points": [[float(f"{x:.7g}"), float(f"{y:.5g}")] for x, y in each.points]}
        for each in series
    ]
    frame = dict(left=LEFT, right=WIDTH - RIGHT, top=TOP, bottom=HEIGHT - BOTTOM, x_end=x_end)
    picture = tag(
        "svg", parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", tabindex="0", class_="chart",
        aria_label=f"{title} over iterations: {ends}", data_series=json.dumps(data), data_frame=json.dumps(frame),
    )  # fmt: skip
    return tag("figure", tag("figcaption", title), picture, tag("p", class_="readout", aria_live="polite"))


def legend(labels: list[tuple[str, int]]) -> Markup:
    """Which line is what: pairs of label and style."""
    items = []
    for label, style in labels:
        sample = tag("svg", tag("line", x1=1, x2=33, y1=6, y2=6, class_=f"line s{style}"), viewBox="0 0 34 12",
                     width=34, height=12, aria_hidden="true")  # fmt: skip
        items.append(tag("li", sample, " ", label))
    return tag("ul", items, class_="legend")
