"""The mini ImageNet dataset: one handwritten digit on a plate over a photograph, in ImageNet's class folders.

The class is the digit, n00000000 to n00000009. There is no clutter: a tilted plate of half to most of the image's
height, anywhere in the image, over a part of a photograph.
"""

import numpy as np

from . import folder
from .backgrounds import photo_background
from .clutter import add_noise
from .drawing import digit_ink, make_plate, paste, place
from .sources import SPLITS, random_digit

SIZE = 64  # pixels of width and height
PLATE_HEIGHT = (30.0, 54.0)  # pixels, before the tilt
PHOTO_WIDTH = (50, 160)  # least and most photo pixels across the image
JPEG_QUALITY = 92
CLASSES = tuple(f"n{digit:08d}" for digit in range(10))  # in the form of ImageNet's WordNet ids
LAYOUT_CODE = 2  # part of the random seed; COCO and Cityscapes use others


def make_mini_imagenet(root, num_train=200, num_val=60, seed=0):
    """Write the mini ImageNet dataset to `root` unless it is there already; return `root` as a Path.

    The numbers are of images for each class. Identical arguments give identical bytes for given library versions.
    Raises DatasetFolderError when `root` is a non-empty folder that was not made by this function.
    """
    parameters = {"num_train": num_train, "num_val": num_val, "seed": seed}
    return folder.generate(root, "imagenet", SPLITS, parameters, _count_images, _write_split)


def make_image(split, digit, index, seed):
    """Image number `index` of a digit: (RGB image, provenance)."""
    rng = np.random.default_rng([seed, LAYOUT_CODE, SPLITS.index(split), digit, index])
    image, photo_box = photo_background(rng, split, (SIZE, SIZE), PHOTO_WIDTH)
    ink, digit_id = random_digit(rng, split, digit)
    plate = None
    while plate is None or max(plate.size) > SIZE:  # a large one may leave the image when it is tilted
        plate = make_plate(rng, rng.uniform(*PLATE_HEIGHT), lambda height: digit_ink(ink, height))
    paste(image, plate, place(rng, plate.size, (0, 0, SIZE, SIZE), []))
    return add_noise(rng, image), {"digits": [digit_id], "photos": [photo_box]}


def _count_images(root, split):
    """Images of each class; 0 if the classes do not have the same number."""
    counts = {len(list((root / split / name).glob("*.JPEG"))) for name in CLASSES}
    return counts.pop() if len(counts) == 1 else 0


def _write_split(root, split, count, seed):
    provenance = []
    for digit, name in enumerate(CLASSES):
        (root / split / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image, origin = make_image(split, digit, index, seed)
            file = f"{split}/{name}/{name}_{index}.JPEG"
            image.save(root / file, format="JPEG", quality=JPEG_QUALITY)
            provenance.append({"file": file, **origin})
    return {"images": len(provenance), "classes": len(CLASSES)}, provenance
