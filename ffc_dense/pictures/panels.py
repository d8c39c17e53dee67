"""Text below and above pictures, and several side by side. Pictures are (H, W, 3) uint8, BGR."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
LARGEST, LINE = 0.6, 34  # of OpenCV's letters, and the height of a line in pixels per unit of it
BLACK, GREY = (0, 0, 0), (110, 110, 110)
GAP = 6  # pixels between two panels


def text_lines(lines: Sequence[str], width: int) -> np.ndarray:
    """Lines of text on white, the first one black, the others grey. They shrink until the longest one fits.

    Their height depends on their number, their longest one and ``width``.
    """
    factor = min(LARGEST, (width - 8) / max(1, *(cv2.getTextSize(line, FONT, 1.0, 1)[0][0] for line in lines)))
    step = max(8, round(LINE * factor))
    text = np.full((step * len(lines) + step // 2, width, 3), 255, np.uint8)
    for place, line in enumerate(lines, 1):
        cv2.putText(text, line, (4, step * place), FONT, factor, BLACK if place == 1 else GREY, 1, cv2.LINE_AA)
    return text


def with_lines(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A picture above lines of text."""
    return np.concatenate([picture, text_lines(lines, picture.shape[1])])


def side_by_side(panels: Mapping[str, np.ndarray]) -> np.ndarray:
    """{title: picture} in a row, each below its title."""
    titles = [text_lines([title], picture.shape[1]) for title, picture in panels.items()]
    highest = max(map(len, titles))
    above = [((highest - len(title), 0), (0, 0), (0, 0)) for title in titles]
    parts = zip(titles, above, panels.values(), strict=True)
    return joined([np.concatenate([np.pad(title, pad, constant_values=255), picture])
                   for title, pad, picture in parts], 1)  # fmt: skip


def joined(panels: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Pictures one below the other (``axis`` 0) or side by side (1), on white where one is smaller than the others."""
    rows, columns = (max(panel.shape[side] for panel in panels) for side in (0, 1))
    filled = []
    for place, panel in enumerate(panels):
        missing = [rows - panel.shape[0], columns - panel.shape[1]]
        missing[axis] = GAP if place + 1 < len(panels) else 0
        filled.append(np.pad(panel, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=255))
    return np.concatenate(filled, axis=axis)


def greyed(image: np.ndarray) -> np.ndarray:
    """An image without colour, made light, so that what is drawn on it stands out."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[:, :, None].repeat(3, 2)
    return (128 + grey // 2).astype(np.uint8)
