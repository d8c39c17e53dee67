"""Label maps of two segmentors beside each other: stock, FFC, and where they disagree."""

import cv2
import numpy as np
from matplotlib.colors import to_rgb
from mmseg.structures import SegDataSample

from ... import style
from ...pictures.panels import greyed, side_by_side
from ...pictures.scale import readable_scale
from ..model.opinions import MAPS
from .map_pictures import coloured
from .segmentor import Segmentor

PANEL = 480  # pixels of a small image's longer side
DIFFERENT = tuple(round(255 * channel) for channel in reversed(to_rgb(style.VERMILION)))  # BGR


def compared(
    image: np.ndarray, stock: Segmentor, ffc: Segmentor, result: SegDataSample, maps: dict[str, np.ndarray],
    opacity: float = 0.5, scale: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Panels of both label maps and of the pixels at which they differ, then of ``maps``.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: what ``ffc`` gave for it.
        maps: those to show, of :func:`maps_of`.
        scale: of a panel; by default small images are enlarged to PANEL pixels.
    """
    scale = readable_scale(*image.shape[:2], PANEL) if scale is None else scale
    other = stock(image)
    size = tuple(max(1, round(side * scale)) for side in image.shape[:2])
    differ = (other.pred_sem_seg.data[0] != result.pred_sem_seg.data[0]).cpu().numpy()
    shown = greyed(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))
    shown[cv2.resize(differ.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0] = DIFFERENT
    panels = {
        "stock": stock.draw(image, other, opacity, False, scale),
        "FFC": ffc.draw(image, result, opacity, False, scale),
        f"differ at {differ.mean():.1%} of the pixels": shown,
    }
    return side_by_side(panels | {name: coloured(maps, name, size) for name in MAPS if name in maps})
