"""What disturbs: blobs and scribbles on the background, occluders over plates, and noise."""

import numpy as np
from PIL import Image, ImageDraw

MAX_OCCLUDED_SHARE = 0.15  # of a plate's area, for one occluder


def blob_outline(rng, centre, radii, points=14):
    """Irregular ellipse with centre (x, y) and radii (rx, ry) in pixels: polygon float (points, 2)."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    reach = rng.uniform(0.78, 1.15, points)
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None]
    return np.asarray(centre) + np.asarray(radii) * ray


def random_colour(rng, low=20, high=235):
    return tuple(int(v) for v in rng.integers(low, high, 3))


def as_points(polygon):
    return [(float(x), float(y)) for x, y in polygon]


def draw_clutter(rng, image):
    """Draw 0-2 blobs and 0-2 scribbles, of any colour, onto an RGB image in place."""
    draw = ImageDraw.Draw(image)
    w, h = image.size
    for _ in range(int(rng.integers(0, 3))):
        outline = blob_outline(rng, rng.uniform((0, 0), (w, h)), rng.uniform(5, 16, 2))
        draw.polygon(as_points(outline), fill=random_colour(rng))
    for _ in range(int(rng.integers(0, 3))):
        start = rng.uniform((0, 0), (w, h))
        steps = np.cumsum(rng.uniform(-14, 14, (int(rng.integers(3, 7)), 2)), axis=0)
        draw.line(as_points(start + steps), fill=random_colour(rng), width=int(rng.integers(1, 4)))


def add_noise(rng, image):
    """The RGB image with camera-like noise of 1 to 4 grey levels (standard deviation)."""
    pixels = np.asarray(image, dtype=np.float32)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(1, 4))
    return Image.fromarray(np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8))


def _mask(size, polygon):
    image = Image.new("1", size, 0)
    ImageDraw.Draw(image).polygon(as_points(polygon), fill=1)
    return np.asarray(image)


def make_occluder(rng, size, outlines):
    """Polygon float (n, 2), clipped to the image, over part of one plate; None if it would cover too much.

    size: (width, height) of the image. outlines: the plates' polygons in the image; one is picked at random
    and none loses more than MAX_OCCLUDED_SHARE of its area.
    """
    target = outlines[int(rng.integers(len(outlines)))]
    centre, height = target.mean(axis=0), np.ptp(target[:, 1])
    if rng.random() < 0.5:  # a blob on the plate's rim
        rim = target[int(rng.integers(len(target)))]
        polygon = blob_outline(rng, rim, rng.uniform(0.14, 0.26, 2) * height)
    else:  # a narrow bar beside the plate's centre
        angle = rng.uniform(0, np.pi)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        middle = centre + across * height * rng.uniform(0.25, 0.45) * rng.choice([-1, 1])
        reach, half = along * height * rng.uniform(0.7, 0.9), across * rng.uniform(1.0, 1.8)
        corners = (-reach - half, reach - half, reach + half, half - reach)
        polygon = middle + np.stack(corners)
    polygon = np.clip(polygon, 0, np.array(size) - 1)
    cover = _mask(size, polygon)
    for outline in outlines:
        plate = _mask(size, outline)
        if (plate & cover).sum() > MAX_OCCLUDED_SHARE * plate.sum():
            return None
    return polygon
