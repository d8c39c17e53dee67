"""Predictions of two classifiers beside each other: stock, FFC, and where they disagree."""

import cv2
import numpy as np
import torch
from matplotlib.colors import to_rgb

from ... import style
from ...pictures.panels import BLACK, FONT, side_by_side
from ...pictures.scale import readable_scale
from .classifier import Classifier, Prediction

PANEL = 320  # pixels of a small image's longer side
MOST = 4  # classes with bars
STOCK, FFC = (tuple(round(255 * channel) for channel in reversed(to_rgb(code))) for code in (style.STOCK, style.FFC))


def compared(
    image: np.ndarray, stock: Classifier, ffc: Classifier, found: Prediction, scale: float | None
) -> np.ndarray:
    """Both predictions, and bars of the probabilities of the classes that either finds most probable.

    Args:
        image: (H, W, 3) uint8, BGR.
        found: what ``ffc`` gave for it.
        scale: of a panel; by default small images are enlarged to PANEL pixels.
    """
    scale = readable_scale(*image.shape[:2], PANEL) if scale is None else scale
    other = stock(image)
    panels = {"stock": stock.draw(image, other, scale), "FFC": ffc.draw(image, found, scale)}
    height, width = panels["FFC"].shape[:2]
    title = "agree" if other.label == found.label else "disagree"
    return side_by_side(panels | {title: bars(other.scores, found.scores, ffc, width, height)})


def bars(stock: torch.Tensor, ffc: torch.Tensor, names: Classifier, width: int, height: int) -> np.ndarray:
    """(height, width, 3): for each of MOST classes its name, and a bar of each model's probability (K,)."""
    picture = np.full((height, width, 3), 255, np.uint8)
    most = torch.maximum(stock, ffc).argsort(descending=True, stable=True)[:MOST].tolist()
    step = min(70, height // len(most))
    letters, bar = 0.007 * step, max(2, step // 5)
    for place, k in enumerate(most):
        top = step * place + step // 3
        cv2.putText(picture, names.name_of(k), (8, top), FONT, letters, BLACK, 1, cv2.LINE_AA)
        for row, (scores, colour) in enumerate(((stock, STOCK), (ffc, FFC))):
            y, share = top + 4 + row * (bar + 2), float(scores[k])
            right = 8 + round((width - 80) * share)
            cv2.rectangle(picture, (8, y), (right, y + bar), colour, -1 if row else 2)
            text = f"{('stock', 'FFC')[row]} {share:.0%}"
            cv2.putText(picture, text, (right + 5, y + bar), FONT, 0.8 * letters, BLACK, 1, cv2.LINE_AA)
    return picture
