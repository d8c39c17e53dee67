"""Which colour is which class, below a picture."""

from collections.abc import Sequence

import cv2
import numpy as np

from ...pictures.panels import BLACK, FONT, GREY

CELLS = 24  # of a legend; of more classes the largest in the picture are shown
LETTERS, SWATCH, ROW = 0.45, 13, 22  # OpenCV's factor; pixels
WIDEST = "100.0%"


def legend(labels: np.ndarray, classes: Sequence[str], palette: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """(H, ``width``, 3) uint8, BGR: each class with its colour and its share of the pixels, absent ones in grey.

    The size depends on ``classes`` and ``width`` alone, so all frames of a video have the same.

    Args:
        labels: (h, w) integers; a label that is no class is not shown.
        palette: (R, G, B) of 0 to 255 for each class.
    """
    shares = np.bincount(labels[labels < len(classes)].ravel(), minlength=len(classes)) / labels.size
    chosen = list(range(len(classes)))
    if len(classes) > CELLS:
        chosen = np.argsort(-shares, kind="stable")[:CELLS].tolist()
    texts = [f"{classes[k]} {shares[k]:.1%}" if shares[k] else classes[k] for k in chosen]
    if left := int((shares > 0).sum()) - len(chosen) if len(classes) > CELLS else 0:
        texts[-1], chosen[-1] = f"{left + 1} smaller ones", -1
    broadest = max(cv2.getTextSize(f"{name} {WIDEST}", FONT, LETTERS, 1)[0][0] for name in [*classes, "99 smaller"])
    columns = max(1, width // (SWATCH + broadest + 18))
    factor = min(LETTERS, LETTERS * (width - SWATCH - 14) / broadest)
    rows = -(-len(chosen) // columns)
    picture = np.full((ROW * rows + 6, width, 3), 255, np.uint8)
    for place, (k, text) in enumerate(zip(chosen, texts, strict=True)):
        x, y = 6 + place % columns * (width // columns), 5 + place // columns * ROW
        there = k < 0 or shares[k] > 0
        if k >= 0:
            colour = [int(value) for value in palette[k]][::-1]
            cv2.rectangle(picture, (x, y), (x + SWATCH, y + SWATCH), colour, -1 if there else 1)
            if there:
                cv2.rectangle(picture, (x, y), (x + SWATCH, y + SWATCH), GREY, 1)
        place_of_text = (x + SWATCH + 6, y + SWATCH - 1)
        cv2.putText(picture, text, place_of_text, FONT, factor, BLACK if there else GREY, 1, cv2.LINE_AA)
    return picture
