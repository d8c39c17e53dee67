"""Parts of photographs behind the plates."""

import numpy as np
from PIL import Image

from .sources import PHOTOS, random_crop


def photo_background(rng, split, size, photo_width):
    """A photo crop, scaled to `size` (width, height) and varied in brightness and contrast, and the box it came from.

    photo_width: (least, most) photo pixels that the image's width shows.
    """
    name = list(PHOTOS)[int(rng.integers(len(PHOTOS)))]
    width = int(rng.integers(photo_width[0], photo_width[1] + 1))
    crop, box = random_crop(rng, split, name, (width, width * size[1] // size[0]))
    crop = crop.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(crop, dtype=np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    mean = pixels.mean()
    pixels = (pixels - mean) * rng.uniform(0.7, 1.0) + mean * rng.uniform(0.6, 1.05)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), box
