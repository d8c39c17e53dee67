"""Where the pixels come from: handwritten digits and photographs, and how both are split.

Everything is read from files in the installed scikit-learn and scikit-image wheels; nothing is downloaded.
`PHOTOS` is the one list of photographs with author and licence; `LICENCES.md` repeats it for readers.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import skimage
import sklearn
from PIL import Image
from sklearn.datasets import load_digits as sklearn_load_digits

SPLITS = ("train", "val")
DIGIT_COUNT = 1797
FIRST_VAL_DIGIT = 1400  # digits 0..1399 are train, 1400..1796 are val
TRAIN_PHOTO_SHARE = 0.68  # train crops lie in the left 68 % of each photo's columns, val crops in the rest

CC0 = "CC0 1.0"
PUBLIC_DOMAIN = "public domain"
CC_BY_2 = "CC BY 2.0"
DIGITS_LICENCE = "CC BY 4.0"
LICENCE_URLS = {
    CC0: "https://creativecommons.org/publicdomain/zero/1.0/",
    PUBLIC_DOMAIN: "https://creativecommons.org/publicdomain/mark/1.0/",
    CC_BY_2: "https://creativecommons.org/licenses/by/2.0/",
    DIGITS_LICENCE: "https://creativecommons.org/licenses/by/4.0/",
}


@dataclass(frozen=True)
class Photo:
    """One photograph in an installed wheel; `file` is relative to the package's folder."""

    name: str
    package: str
    file: str
    author: str
    licence: str


PHOTOS = {
    photo.name: photo
    for photo in (
        Photo("astronaut", "skimage", "data/astronaut.png", "NASA", PUBLIC_DOMAIN),
        Photo("brick", "skimage", "data/brick.png", "CC0Textures (Bricks25)", CC0),
        Photo("camera", "skimage", "data/camera.png", "Lav Varshney", CC0),
        Photo("chelsea", "skimage", "data/chelsea.png", "Stefan van der Walt", CC0),
        Photo("china", "sklearn", "datasets/images/china.jpg", "danielbuechele (Flickr)", CC_BY_2),
        Photo("coffee", "skimage", "data/coffee.png", "Rachel Michetti", CC0),
        Photo("grass", "skimage", "data/grass.png", "linolafett (DeviantArt)", CC0),
        Photo("gravel", "skimage", "data/gravel.png", "CC0Textures (Gravel04)", CC0),
        Photo("rocket", "skimage", "data/rocket.jpg", "SpaceX", PUBLIC_DOMAIN),
    )
}

_PACKAGE_FOLDERS = {"skimage": Path(skimage.__file__).parent, "sklearn": Path(sklearn.__file__).parent}


def check_split(split):
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")


def photo_columns(width, split):
    """Half-open column range (x0, x1), in pixels, that `split` may use of a photo `width` pixels wide."""
    check_split(split)
    border = round(TRAIN_PHOTO_SHARE * width)
    return (0, border) if split == "train" else (border, width)


@cache
def load_photo(name):
    """The photo `name` as an RGB image; shared, so do not draw on it."""
    photo = PHOTOS[name]
    path = _PACKAGE_FOLDERS[photo.package] / photo.file
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; install a version of {photo.package} that bundles it")
    with Image.open(path) as image:
        return image.convert("RGB")


@cache
def load_digits():
    """All digits: ink float32 (1797, 8, 8) in 0..1 where 1 is full ink, and their classes int64 (1797,)."""
    data = sklearn_load_digits()
    ink = (data.images / 16.0).astype(np.float32)
    ink.flags.writeable = False
    return ink, data.target


def digit_indices(split, digit):
    """Indices into `load_digits()` of all samples of class `digit` (0..9) that belong to `split`."""
    check_split(split)
    indices = np.flatnonzero(load_digits()[1] == digit)
    return indices[indices < FIRST_VAL_DIGIT] if split == "train" else indices[indices >= FIRST_VAL_DIGIT]


def random_digit(rng, split, digit):
    """Draw one sample of class `digit`: (ink float32 (8, 8) in 0..1, its index as int)."""
    index = int(rng.choice(digit_indices(split, digit)))
    return load_digits()[0][index], index


def random_crop(rng, split, name, size, region=None):
    """Crop at random from the split's columns of a photo.

    size: (width, height) wanted, in photo pixels; cut down to what fits.
    region: (x0, y0, x1, y1) in photo pixels that further limits the crop, or None for no further limit.
    Returns (RGB image, [name, x0, y0, x1, y1]), the half-open box that was read.
    """
    photo = load_photo(name)
    x0, x1 = photo_columns(photo.width, split)
    y0, y1 = 0, photo.height
    if region is not None:
        x0, y0 = max(x0, region[0]), max(y0, region[1])
        x1, y1 = min(x1, region[2]), min(y1, region[3])
    width, height = min(size[0], x1 - x0), min(size[1], y1 - y0)
    left = int(rng.integers(x0, x1 - width + 1))
    top = int(rng.integers(y0, y1 - height + 1))
    box = (left, top, left + width, top + height)
    return photo.crop(box), [name, *box]
