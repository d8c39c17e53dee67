"""Plates: light rounded cards that carry a dark digit or, as a distractor, a dark mark.

Coordinates are (x, y) in pixels with y downwards and pixel edges at integers, as in COCO.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 4  # plates are drawn this much larger and averaged down, for smooth edges
MAX_TILT = 12.0  # degrees


@dataclass
class Plate:
    """rgba: uint8 (h, w, 4), alpha is the plate's coverage; outline: float (n, 2), its polygon in rgba."""

    rgba: np.ndarray
    outline: np.ndarray

    @property
    def size(self):
        """(width, height) of the patch in pixels."""
        return self.rgba.shape[1], self.rgba.shape[0]


def rounded_outline(width, height, radius, tilt, points_per_corner=5):
    """Rounded rectangle centred at 0, tilted left in degrees: polygon float (4 * points_per_corner, 2)."""
    turns = np.linspace(0, np.pi / 2, points_per_corner)
    corners = []
    for quarter, signs in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angle = turns + quarter * np.pi / 2
        centre = np.array(signs) * (width / 2 - radius, height / 2 - radius)
        corners.append(centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    return np.concatenate(corners) @ _turn_left(tilt).T


def _turn_left(degrees):
    """Matrix (2, 2) that turns (x, y down) points anticlockwise on screen, as `Image.rotate` does."""
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def digit_ink(ink, height):
    """Scale an 8x8 digit for a plate `height` pixels high: 'L' image, 255 is full ink."""
    side = max(8, round(0.80 * height))
    image = Image.fromarray(np.round(ink * 255).astype(np.uint8))
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    # The upscaled strokes are soft; a smooth step makes them dark and crisp without hard pixel edges.
    t = np.clip((np.asarray(image, dtype=np.float32) / 255 - 0.2) / 0.45, 0, 1)
    return Image.fromarray(np.round(255 * t * t * (3 - 2 * t)).astype(np.uint8))


def mark_ink(rng, height):
    """Draw a mark that is no digit (cross, bars, triangle, dots or zigzag): 'L' image, 255 is full ink."""
    side = max(8, round(0.80 * height))
    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    line = max(2, round(side * rng.uniform(0.10, 0.15)))

    def at(*xy):
        return [tuple(float(v) * side for v in p) for p in xy]

    kind = rng.choice(["cross", "bars", "triangle", "dots", "zigzag"])
    if kind == "cross":
        draw.line(at((0.15, 0.15), (0.85, 0.85)), fill=255, width=line)
        draw.line(at((0.15, 0.85), (0.85, 0.15)), fill=255, width=line)
    elif kind == "bars":  # horizontal only: an upright bar is a 1
        for y in np.linspace(0.25, 0.75, int(rng.integers(2, 4))):
            draw.line(at((0.12, y), (0.88, y)), fill=255, width=line)
    elif kind == "triangle":
        draw.polygon(at((0.5, 0.15), (0.88, 0.82), (0.12, 0.82)), fill=255)
    elif kind == "dots":
        for x, y in at(*[(x, y) for x in (0.28, 0.72) for y in (0.28, 0.72)]):
            draw.ellipse((x - line, y - line, x + line, y + line), fill=255)
    else:
        xs = np.linspace(0.1, 0.9, 6)
        draw.line(at(*zip(xs, (0.3, 0.7) * 3, strict=True)), fill=255, width=line, joint="curve")
    return image


def make_plate(rng, height, ink_at):
    """Draw one plate.

    height: of the untilted plate in pixels. ink_at: function from a height in pixels to the 'L' ink image.
    """
    s = SUPERSAMPLING
    width = height * rng.uniform(0.85, 1.05)
    tilt = rng.uniform(-MAX_TILT, MAX_TILT)
    outline = rounded_outline(width, height, rng.uniform(0.12, 0.28) * width, tilt)
    low, high = outline.min(axis=0), outline.max(axis=0)
    outline = outline - low
    w, h = (int(v) for v in np.ceil(high - low))
    polygon = [tuple(p) for p in outline * s]

    coverage = Image.new("L", (w * s, h * s), 0)
    ImageDraw.Draw(coverage).polygon(polygon, fill=255)
    ink = ink_at(height * s).rotate(tilt, Image.Resampling.BICUBIC, expand=True)
    ink_layer = Image.new("L", coverage.size, 0)
    centre = -low * s
    ink_layer.paste(ink, (round(centre[0] - ink.width / 2), round(centre[1] - ink.height / 2)))

    paper = rng.uniform(215, 250) - rng.uniform(0, 40, 3)  # light, with a faint tint
    dark = rng.uniform(5, 55, 3)
    # A darker rim about one pixel wide: the whole card in the rim's colour, a smaller one in the paper's.
    card = Image.new("RGB", coverage.size, tuple(int(v) for v in paper * rng.uniform(0.55, 0.8)))
    inner = (outline + low) * (1 - 2.4 / height) - low
    ImageDraw.Draw(card).polygon([tuple(p) for p in inner * s], fill=tuple(int(v) for v in paper))
    card.paste(tuple(int(v) for v in dark), mask=ink_layer)

    ramp = np.linspace(*rng.permutation([0.9, 1.0]), w)[None, :, None]  # uneven light from one side
    rgb = np.asarray(card.reduce(s), dtype=np.float32) * ramp
    rgba = np.dstack([np.round(rgb), np.asarray(coverage.reduce(s))]).astype(np.uint8)
    return Plate(rgba, outline)


def paste(image, plate, corner):
    """Blend a plate onto an RGB image with its patch's top left pixel at `corner` (x, y)."""
    patch = Image.fromarray(plate.rgba)
    image.paste(patch.convert("RGB"), corner, mask=patch.getchannel("A"))


def place(rng, size, area, taken, gap=2, tries=80):
    """Find room for a (w, h) patch in `area` (x0, y0, x1, y1), `gap` pixels away from all boxes in `taken`.

    Returns the corner (x, y) and appends the box to `taken`, or returns None when no try succeeds.
    """
    x0, y0, x1, y1 = area
    w, h = size
    for _ in range(tries):
        x, y = int(rng.integers(x0, x1 - w + 1)), int(rng.integers(y0, y1 - h + 1))
        box = (x, y, x + w, y + h)
        if all(
            box[2] + gap <= t[0] or t[2] + gap <= box[0] or box[3] + gap <= t[1] or t[3] + gap <= box[1] for t in taken
        ):
            taken.append(box)
            return x, y
    return None
