"""Maps of agreement and confidence in colour, with a colour bar. Pictures are (H, W, 3) uint8, BGR."""

from functools import lru_cache

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import ColorbarBase
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ...pictures.panels import joined
from ..model.opinions import MAPS

COLOURS = "cividis"  # perceptually uniform, the same to most colour-blind readers
DPI = 100


def beside_maps(picture: np.ndarray, maps: dict[str, np.ndarray]) -> np.ndarray:
    """A picture with its maps: below it if it is wider than high, else at its right.

    Args:
        picture: of any size; the maps are shown at the same.
        maps: see :func:`ffc_dense.segmentation.inspection.map_files.maps_of`.
    """
    height, width = picture.shape[:2]
    panels = [picture] + [coloured(maps, name, (height, width)) for name in MAPS if name in maps]
    return joined(panels, 1 if height >= width else 0)


def coloured(maps: dict[str, np.ndarray], name: str, size: tuple[int, int]) -> np.ndarray:
    """The map ``name`` in colour, resized to (height, width) without new values, with a colour bar at its right."""
    num_outputs = int(maps["num_outputs"]) if name == "agreement" else None
    lowest = 0.0 if num_outputs is None else 1 / num_outputs
    shown = cv2.resize(maps[name], size[::-1], interpolation=cv2.INTER_NEAREST)
    places = np.clip((shown - lowest) / (1 - lowest or 1) * 255, 0, 255).round().astype(np.uint8)
    table = (colormaps[COLOURS](np.arange(256))[:, 2::-1] * 255).round().astype(np.uint8)
    return np.concatenate([table[places], _bar(size[0], name, num_outputs)], axis=1)


@lru_cache(maxsize=8)
def _bar(height: int, name: str, num_outputs: int | None) -> np.ndarray:
    """A colour bar as high as the map."""
    text = max(12.0, min(height / 40, 40.0))  # pixels
    width = round(6.5 * text)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    margin = min(0.8 * text / height, 0.4)
    axis = figure.add_axes((0.12, margin, 0.18, 1 - 2 * margin))
    lowest = 0.0 if num_outputs is None else 1 / num_outputs
    bar = ColorbarBase(axis, cmap=colormaps[COLOURS], norm=Normalize(lowest, 1))
    if num_outputs is None:
        bar.set_ticks([0, 0.5, 1])
    else:
        every = max(1, round(num_outputs * 1.6 * text / height))
        counts = list(range(num_outputs, 0, -every))
        bar.set_ticks([count / num_outputs for count in counts], labels=[str(count) for count in counts])
    points = text * 72 / DPI
    bar.set_label(name if num_outputs is None else f"{name} (of {num_outputs})", size=points)
    bar.ax.tick_params(labelsize=points, width=points / 12, length=points / 3)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, 2::-1].copy()
