"""The pictures of an analysis. The colours are Okabe-Ito's; place or marker differ too."""

import math
from pathlib import Path

from ..style import BLUE, VERMILION, pyplot

LABELS = {"mean": "Mean", "vote": "Vote", "stock": "Stock"}
MANY_CLASSES = 40  # beyond it only the ends of the ranking are drawn


def draw_all(report: dict, folder: Path) -> list[str]:
    """Write the PNGs of a report into ``folder`` and return their names; a stock model has the first two.

    Raises:
        UserError: matplotlib is missing.
    """
    plt = pyplot()
    drawn = []
    for name, draw in (("active_units", active_units), ("reliability", reliability), ("agreement", agreement),
                       ("class_gain", class_gain)):  # fmt: skip
        figure = draw(report, plt)
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=130)
            plt.close(figure)
            drawn.append(f"{name}.png")
    return drawn


def active_units(report: dict, plt):
    """Mean number of active units of the feature that each output classifies; averages of two stages are hollow."""
    rows = [row for row in report["outputs"] if row["active_units"] is not None]
    if not rows:
        return None
    figure, axis = plt.subplots(figsize=(1.8 + 0.9 * max(len(rows), 3), 3.6), layout="constrained")
    values = [row["active_units"] for row in rows]
    stages = [i for i, row in enumerate(rows) if "+" not in row["feature"]]
    averages = [i for i in range(len(rows)) if i not in stages]
    axis.plot(stages, [values[i] for i in stages], color=BLUE, linewidth=1.2, zorder=1)
    axis.scatter(stages, [values[i] for i in stages], color=BLUE, s=60, label="stage", zorder=2)
    if averages:
        axis.scatter(averages, [values[i] for i in averages], facecolors="white", edgecolors=VERMILION, s=60,
                     marker="D", label="average of two stages", zorder=2)  # fmt: skip
        axis.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 1.16), ncols=2)
    for i, value in enumerate(values):
        axis.annotate(f"{value:.0f}", (i, value), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9)
    axis.set_xticks(range(len(rows)), [f"{_label(row)}\n{row['feature']}" for row in rows], fontsize=9)
    axis.set_xlim(-0.6, len(rows) - 0.4)
    axis.set_ylim(0, max(max(values) * 1.2, 1))
    axis.set_ylabel(f"active units of {report['features']}")
    _plain(axis)
    return figure


def reliability(report: dict, plt):
    """A diagram per output: accuracy in each bin of confidence, and the share of decisions in the bin."""
    rows = [row for row in report["outputs"] if row["labelled"]]
    if not rows:
        return None
    columns = min(3, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(max(2.7 * columns, 3.6), 2.6 * lines + 0.6), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    width = 1 / report["bins"]
    for axis, row in zip(axes.flat, rows, strict=False):
        left = [width * b for b in range(report["bins"])]
        heights = [each["accuracy"] or 0 for each in row["reliability"]]
        shares = [each["count"] / row["labelled"] for each in row["reliability"]]
        axis.bar(left, heights, width * 0.92, align="edge", color=BLUE, label="accuracy")
        axis.step([*left, 1], [*shares, shares[-1]], where="post", color=VERMILION, linewidth=1.4,
                  label="share of decisions")  # fmt: skip
        axis.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--", label="calibrated")
        axis.set_title(f"{_label(row)}: ECE {100 * row['ece']:.2f} %", fontsize=10)
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
        _plain(axis)
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2 if columns == 1 else 3, frameon=False,
                  fontsize=8 if columns == 1 else 10)  # fmt: skip
    figure.supxlabel("confidence", fontsize=10)
    return figure


def agreement(report: dict, plt):
    """How many outputs chose the class of the vote, and how often the vote is right then; logarithmic."""
    rows = [row for row in report["agreement"] if row["share"]]
    if not rows:
        return None
    figure, axis = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    places = [row["outputs"] for row in rows]
    shares = [100 * row["share"] for row in rows]
    axis.bar(places, shares, 0.7, color=BLUE)
    for place, share, row in zip(places, shares, rows, strict=True):
        lines = [f"{share:.2g} %" if share < 1 else f"{share:.2f} %"]
        if row["accuracy"] is not None:
            lines.append(f"right: {100 * row['accuracy']:.0f} %")
        axis.annotate("\n".join(lines), (place, share), xytext=(0, 4), textcoords="offset points", ha="center",
                      fontsize=8.5)  # fmt: skip
    axis.set_xticks(range(min(places), len(report["agreement"])))
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(10 ** math.floor(math.log10(min(shares)) - 0.1), 800)  # room for the two lines above 100 %
    axis.set_xlabel("outputs that chose the class of the vote")
    axis.set_ylabel("share of decisions (%), log scale")
    _plain(axis)
    return figure


def class_gain(report: dict, plt):
    """The vote's score minus Out1's, class by class."""
    rows = report["class_gain"]
    if not rows:
        return None
    left_out = max(0, len(rows) - MANY_CLASSES)
    if left_out:
        rows = rows[: MANY_CLASSES // 2] + rows[-MANY_CLASSES // 2 :]
    figure, axis = plt.subplots(figsize=(6.4, 1.2 + 0.27 * len(rows)), layout="constrained")
    gains = [row["gain"] for row in rows]
    axis.barh(range(len(rows)), gains, 0.7, color=[BLUE if gain >= 0 else VERMILION for gain in gains])
    for place, gain in enumerate(gains):
        axis.annotate(f"{gain:+.2f}", (gain, place), xytext=(4 if gain >= 0 else -4, 0), textcoords="offset points",
                      ha="left" if gain >= 0 else "right", va="center", fontsize=8)  # fmt: skip
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [row["class"] for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.margins(x=0.16)
    unit = report["metric"].removeprefix("m")  # of one class: AP, and IoU of mIoU
    hidden = f" ({left_out} classes between them left out)" if left_out else ""
    axis.set_xlabel(f"{unit} of the vote minus {unit} of Out1, points{hidden}")
    _plain(axis, "x")
    return figure


def _label(row: dict) -> str:
    return LABELS.get(row["name"], row["name"].replace("out", "Out"))


def _plain(axis, grid: str = "y") -> None:
    axis.grid(axis=grid, color="0.92")
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
