"""The layout of a street scene as polygons, and the photo textures that fill it.

Polygons are lists of integer [x, y] pixels inside the image, drawn as Pillow does (border included).
"""

import numpy as np
from PIL import Image

from .clutter import blob_outline
from .sources import random_crop

WIDTH, HEIGHT = 256, 128  # pixels

# label: (photo, region per split as (x0, y0, x1, y1) in photo pixels, photo pixels per scene pixel,
#         base colour for grey photos or None to keep the photo's colours, contrast)
WHOLE = (0, 0, 10_000, 10_000)
TEXTURES = {
    "sky": ("china", {"train": (330, 0, 435, 180), "val": (435, 0, 640, 160)}, 0.8, None, 1.0),
    "building": ("brick", {"train": WHOLE, "val": WHOLE}, 1.6, (150, 92, 74), 1.0),
    "vegetation": ("china", {"train": (0, 362, 200, 427), "val": (440, 318, 640, 427)}, 0.9, None, 1.0),
    "terrain": ("grass", {"train": WHOLE, "val": WHOLE}, 1.2, (142, 132, 70), 0.6),
    "sidewalk": ("gravel", {"train": WHOLE, "val": WHOLE}, 0.8, (176, 168, 160), 0.5),
    "road": ("gravel", {"train": WHOLE, "val": WHOLE}, 2.5, (92, 92, 98), 0.25),
}


def to_polygon(points):
    """Round float points (n, 2) to a list of integer [x, y] inside the image."""
    clipped = np.clip(np.rint(points), 0, (WIDTH - 1, HEIGHT - 1)).astype(int)
    return [[int(x), int(y)] for x, y in clipped]


def layout(rng):
    """The stuff of one scene: list of (label, polygon) in painting order, each covering what came before."""
    horizon = float(rng.integers(44, 60))
    right, bottom = WIDTH - 1, HEIGHT - 1
    shapes = [("sky", [(0, 0), (right, 0), (right, bottom), (0, bottom)])]

    x = -float(rng.uniform(0, 30))
    while x < right:
        w = rng.uniform(30, 66)
        if rng.random() < 0.75:
            top = rng.uniform(8, horizon - 14)
            roof = [(x, top), (x + w, top)]
            if rng.random() < 0.4:
                roof.insert(1, (x + w / 2, top - rng.uniform(4, 8)))
            shapes.append(("building", [*roof, (x + w, horizon + 6), (x, horizon + 6)]))
        x += w + (rng.uniform(6, 26) if rng.random() < 0.5 else 0)

    def trees(count, low, high):
        for _ in range(count):
            centre = (rng.uniform(0, right), horizon + rng.uniform(low, high))
            shapes.append(("vegetation", blob_outline(rng, centre, rng.uniform((12, 10), (32, 20)))))

    trees(int(rng.integers(1, 4)), -12, 0)
    shapes.append(("terrain", [(0, horizon), (right, horizon), (right, bottom), (0, bottom)]))
    vanish = rng.uniform(80, 176)
    left_edge, right_edge = rng.uniform(30, 95), rng.uniform(161, 226)
    for label, top, extra in (("sidewalk", 18, rng.uniform(26, 46, 2)), ("road", 9, (0, 0))):
        shapes.append(
            (
                label,
                [
                    (vanish - top, horizon),
                    (vanish + top, horizon),
                    (right_edge + extra[1], bottom),
                    (left_edge - extra[0], bottom),
                ],
            )
        )
    if rng.random() < 0.5:
        trees(1, 4, 12)  # a bush in front of everything
    return [(label, to_polygon(points)) for label, points in shapes]


def ego_vehicle(rng):
    """A flat bonnet at the lower border, 6 to 10 pixels high: polygon."""
    top = HEIGHT - rng.uniform(6, 10)
    rim = [(0, top + 3), (60, top), (WIDTH - 60, top), (WIDTH, top + 3)]
    return to_polygon([(0, HEIGHT), *rim, (WIDTH, HEIGHT)])


def texture(rng, split, label):
    """Photo texture of a stuff class: (RGB image of the scene's size, the photo box it came from)."""
    name, regions, scale, base, contrast = TEXTURES[label]
    wanted = (int(WIDTH * scale), int(HEIGHT * scale))
    crop, box = random_crop(rng, split, name, wanted, regions[split])
    size = (int(crop.width / scale), int(crop.height / scale))
    pixels = np.asarray(crop.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    if label == "building":
        pixels = pixels.swapaxes(0, 1)  # the photo's bricks stand upright; lay the courses flat
    # A strip of the photo is often smaller than the scene: continue it by reflection.
    missing = [(0, max(0, full - have)) for full, have in zip((HEIGHT, WIDTH), pixels.shape, strict=False)]
    pixels = np.pad(pixels, [*missing, (0, 0)], mode="symmetric")[:HEIGHT, :WIDTH]
    if base is not None:
        pixels = (pixels - pixels.mean()) * contrast + np.array(base, dtype=np.float32)
    pixels = pixels * np.float32(rng.uniform(0.82, 1.12))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), box
