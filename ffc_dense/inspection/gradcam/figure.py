"""The figure of one box or region: the image, then the map of each output over it."""

import io
from dataclasses import dataclass

import cv2
import numpy as np

from ...style import VERMILION, pyplot
from .maps import Explained

OUTLINE = VERMILION
COLOURS = "viridis"  # even steps of lightness, for every kind of colour vision
OPACITY = 0.62
HEIGHT = 2.3  # inches: the most of a panel
NARROWEST, WIDEST = 1.75, 4.6  # inches: the titles must fit, a row of panoramas must too


@dataclass(frozen=True)
class Picture:
    """What is drawn.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        region: (H, W) bool, outlined.
        window: (left, top, right, bottom) in pixels, what the maps' panels show.
        title: of the image's panel.
        outputs: with their maps already on the image, (H, W).
        names: of the classes, by label.
        note: a line under the panels.
    """

    image: np.ndarray
    region: np.ndarray
    window: tuple[int, int, int, int]
    title: str
    outputs: list[Explained]
    names: list[str]
    note: str


def scaled(map_: np.ndarray) -> np.ndarray:
    """A map divided by its maximum; an empty map stays empty."""
    top = float(map_.max()) if map_.size else 0.0
    return map_ / top if top > 0 else np.zeros_like(map_)


def arranged(panels: int, fit_a_row: bool) -> list[list[int]]:
    """The grid of the panels 0 ... without an empty cell: the number of the panel in each cell, row by row.

    Where the panels fill no grid, panel 0, the image, is as high as all rows.
    """
    numbers = list(range(panels))
    if fit_a_row or panels < 4:
        return [numbers] if fit_a_row else [[number] for number in numbers]
    if columns := next((columns for columns in (3, 4) if panels % columns == 0 and panels > columns), None):
        return [numbers[i : i + columns] for i in range(0, panels, columns)]
    if columns := next((columns for columns in (3, 2) if (panels - 1) % columns == 0 and panels > 4), None):
        return [[0, *numbers[i : i + columns]] for i in range(1, panels, columns)]
    return [numbers[i : i + 2] for i in range(0, panels, 2)]


def draw(picture: Picture) -> bytes:
    """The PNG."""
    plt = pyplot()
    left, top, right, bottom = picture.window
    height, width = picture.image.shape[:2]
    shapes = [(width, height)] + [(right - left, bottom - top)] * len(picture.outputs)
    panels = [float(np.clip(HEIGHT * w / h, NARROWEST, WIDEST)) for w, h in shapes]
    high = max(min(HEIGHT, panel * h / w) for panel, (w, h) in zip(panels, shapes, strict=True))
    places = arranged(len(panels), sum(panels) <= 16)
    rows, columns = len(places), len(places[0])
    widths = panels if rows == 1 else [max(panels)] * columns
    figure, axes = plt.subplot_mosaic(
        places, layout="constrained", width_ratios=widths,
        figsize=(sum(widths) + 0.25 * columns + 0.9, (high + 0.7) * rows + 0.2),
    )  # fmt: skip
    for axis in axes.values():
        axis.set_axis_off()
    first, *others = (axes[panel] for panel in range(len(panels)))
    first.imshow(picture.image)
    first.set_title(picture.title, fontsize=9)
    _outline(first, picture.region)
    grey = cv2.cvtColor(picture.image, cv2.COLOR_RGB2GRAY)
    drawn = None
    for axis, each in zip(others, picture.outputs, strict=True):
        axis.imshow(grey, cmap="gray", vmin=0, vmax=255)
        drawn = axis.imshow(scaled(each.map), cmap=COLOURS, vmin=0, vmax=1, alpha=OPACITY)
        _outline(axis, picture.region)
        axis.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))
        axis.set_title(_title(each, picture.names), fontsize=9)
        if not each.map.any():
            axis.text(0.5, 0.04, "map is zero", transform=axis.transAxes, ha="center", fontsize=8, color="black",
                      bbox=dict(facecolor="white", edgecolor="none", pad=1.5))  # fmt: skip
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(axes.values()), shrink=0.75, ticks=(0, 0.5, 1), pad=0.01)
        bar.set_label("Grad-CAM, share of the map's maximum", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    figure.supxlabel(picture.note, fontsize=8)
    content = io.BytesIO()
    # The layout engine leaves titles of panels with a fixed aspect out of its sums; this cuts none.
    figure.savefig(content, format="png", dpi=130, bbox_inches="tight", pad_inches=0.1)
    plt.close(figure)
    return content.getvalue()


def _title(each: Explained, names: list[str]) -> str:
    lines = [f"Out{each.output}: {names[each.label]} {100 * each.confidence:.0f} %"]
    if each.target != each.label:
        lines.append(f"map of: {names[each.target]}")
    lines.append(f"{each.units:.0f} of {each.of_units} units active")
    return "\n".join(lines)


def _outline(axis, region: np.ndarray) -> None:
    padded = np.pad(region, 1).astype(float)  # a region at the border has an outline there too
    if padded.any():
        x, y = np.arange(-1, region.shape[1] + 1), np.arange(-1, region.shape[0] + 1)
        for colour, width in (("white", 2.6), (OUTLINE, 1.3)):  # seen on any image
            axis.contour(x, y, padded, levels=[0.5], colors=colour, linewidths=width)
