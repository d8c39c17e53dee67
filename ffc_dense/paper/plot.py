"""The scores as a picture: dots of stock and of FFC in two rows for each config, the paper's numbers as open marks."""

from pathlib import Path

from .. import style
from ..frameworks import FRAMEWORKS
from ..runs.run import STOCK
from .comparison import Comparison

# The markers differ too.
STOCK_STYLE = dict(color=style.STOCK, marker="o")
FFC_STYLE = dict(color=style.FFC, marker="s")
UNITS = {"AP": "box AP (%)", "mIoU": "mIoU (%)", "top1": "Top-1 (%)"}
LONGEST = 34  # characters of a label on one line
LEAST = 10  # percent points that an axis spans, so that it does not magnify the variation between seeds


def draw(comparisons: list[Comparison], path: Path, reduction: str = "vote") -> bool:
    """Write a PNG with a panel per framework; False, and no file, if no run has a score.

    Every run is a dot, and several have a tick at their mean. FFC is shown under one test mode. An axis spans at least
    ``LEAST`` points.

    Raises:
        UserError: matplotlib is missing.
    """
    panels = []
    for framework in FRAMEWORKS:
        metric = framework.main_metric
        rows = [group for group in comparisons if group.framework == framework and _has_score(group, reduction, metric)]
        if rows:
            panels.append((metric, rows))
    if not panels:
        return False
    plt = style.pyplot()
    heights = [len(rows) for _, rows in panels]
    figure, axes = plt.subplots(
        len(panels), 1, squeeze=False, layout="constrained", gridspec_kw=dict(height_ratios=heights),
        figsize=(8, 1.2 + sum(0.7 * count + 0.8 for count in heights)),
    )  # fmt: skip
    for axis, (metric, rows) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, metric, rows, reduction)
    legends = [axis.get_legend_handles_labels() for axis in axes[:, 0]]
    handles = {label: handle for pair in legends for handle, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True


def _has_score(group: Comparison, reduction: str, metric: str) -> bool:
    return bool(group.scores(STOCK, STOCK, metric) or group.scores("FFC", reduction, metric))


def _panel(axis, metric: str, rows: list[Comparison], reduction: str) -> None:
    for place, group in enumerate(rows):
        upper, lower = place - 0.16, place + 0.16
        for label, y, values, look, published in (
            ("stock", upper, group.scores(STOCK, STOCK, metric), STOCK_STYLE, group.system and group.system.stock),
            (f"FFC, {reduction}", lower, group.scores("FFC", reduction, metric), FFC_STYLE,
             group.system and reduction == "vote" and group.system.ffc),
        ):  # fmt: skip
            if values:
                axis.scatter(values, [y] * len(values), s=28, alpha=0.75, linewidths=0, label=label, zorder=2, **look)
            if len(values) > 1:
                mean = sum(values) / len(values)
                axis.scatter([mean], [y], s=260, marker="|", color="black", linewidths=2, label="mean", zorder=3)
            if published and metric in published:
                axis.scatter([published[metric]], [y], s=55, facecolors="none", edgecolors=look["color"],
                             marker="D", label=f"paper, {label.split(',')[0]}", zorder=2)  # fmt: skip
    axis.set_yticks(range(len(rows)), [_wrapped(group.name) for group in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel(UNITS[metric])
    axis.margins(x=0.08)
    axis.set_xlim(*_at_least(LEAST, *axis.get_xlim()))
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _at_least(span: float, low: float, high: float) -> tuple[float, float]:
    """(low, high), made wider around their middle until they span ``span``; within 0 to 100 where they were."""
    missing = max(0.0, span - (high - low)) / 2
    shift = min(0.0, max(100.0, high) - (high + missing)) + max(0.0, min(0.0, low) - (low - missing))
    return low - missing + shift, high + missing + shift


def _wrapped(name: str) -> str:
    """Break a long config name at an underscore."""
    lines, line = [], ""
    for part in name.split("_"):
        grown = f"{line}_{part}" if line else part
        if len(grown) > LONGEST and line:
            lines.append(line + "_")
            line = part
        else:
            line = grown
    return "\n".join([*lines, line])
