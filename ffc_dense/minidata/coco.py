"""The mini COCO dataset: handwritten digits on plates over photographs, in COCO 2017's folder layout.

An object is a plate with a digit; its box, area and polygon are the plate's whole outline, also where an
unlabelled occluder covers up to 15 % of it. Plates do not overlap each other. Plates with a mark instead of a
digit are unlabelled.
"""

import numpy as np
from PIL import ImageDraw

from . import folder
from .backgrounds import photo_background
from .clutter import add_noise, as_points, draw_clutter, make_occluder, random_colour
from .drawing import digit_ink, make_plate, mark_ink, paste, place
from .sources import DIGITS_LICENCE, LICENCE_URLS, PHOTOS, SPLITS, random_digit

WIDTH, HEIGHT = 160, 120  # pixels
OBJECTS = (2, 5)  # least and most per image
PLATE_HEIGHT = (22.0, 46.0)  # pixels, before the tilt
PHOTO_WIDTH = (110, 280)  # least and most photo pixels across the image
JPEG_QUALITY = 92
FIRST_IMAGE_ID = {"train": 1, "val": 500_001}  # apart, so that ids are unique across the splits, as in COCO
LAYOUT_CODE = 0  # part of the random seed; Cityscapes uses another

_PHOTO_LICENCES = sorted({photo.licence for photo in PHOTOS.values()})


def make_mini_coco(root, num_train=400, num_val=100, seed=0):
    """Write the mini COCO dataset to `root` unless it is there already; return `root` as a Path.

    Identical arguments give identical bytes for given library versions. Raises DatasetFolderError when
    `root` is a non-empty folder that was not made by this function.
    """
    parameters = {"num_train": num_train, "num_val": num_val, "seed": seed}
    top_folders = ("annotations", "train2017", "val2017")
    return folder.generate(root, "coco", top_folders, parameters, _count_images, _write_split)


def make_image(split, index, seed):
    """Image number `index` of `split`.

    Returns (RGB image, objects, provenance). Each object is a dict with digit (0..9) and outline, a polygon
    float (n, 2) of (x, y) pixels.
    """
    rng = np.random.default_rng([seed, LAYOUT_CODE, SPLITS.index(split), index])
    image, photo_box = photo_background(rng, split, (WIDTH, HEIGHT), PHOTO_WIDTH)
    draw_clutter(rng, image)
    taken, objects, digit_ids = [], [], []
    heights = sorted(rng.uniform(*PLATE_HEIGHT, int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))), reverse=True)
    for height in heights:  # the largest first, while there is room
        digit = int(rng.integers(10))
        ink, digit_id = random_digit(rng, split, digit)
        plate = make_plate(rng, height, lambda h, ink=ink: digit_ink(ink, h))
        corner = place(rng, plate.size, (0, 0, WIDTH, HEIGHT), taken)
        if corner is not None:
            paste(image, plate, corner)
            objects.append({"digit": digit, "outline": plate.outline + corner})
            digit_ids.append(digit_id)
    for _ in range(int(rng.integers(0, 3))):
        plate = make_plate(rng, rng.uniform(*PLATE_HEIGHT), lambda h: mark_ink(rng, h))
        corner = place(rng, plate.size, (0, 0, WIDTH, HEIGHT), taken)
        if corner is not None:
            paste(image, plate, corner)
    if rng.random() < 0.4:
        polygon = make_occluder(rng, image.size, [o["outline"] for o in objects])
        if polygon is not None:
            ImageDraw.Draw(image).polygon(as_points(polygon), fill=random_colour(rng, 40, 200))
    return add_noise(rng, image), objects, {"digits": digit_ids, "photos": [photo_box]}


def polygon_area(polygon):
    """Area in square pixels of a simple polygon (n, 2)."""
    x, y = polygon[:, 0], polygon[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def annotation(obj, image_id, number):
    """COCO annotation of an object from `make_image`; `number` counts from 1 within the image."""
    outline = np.round(obj["outline"], 2)
    low, high = outline.min(axis=0), outline.max(axis=0)
    return {
        "id": image_id * 10 + number,
        "image_id": image_id,
        "category_id": obj["digit"] + 1,
        "bbox": [round(float(v), 2) for v in (*low, *(high - low))],
        "area": round(polygon_area(outline), 2),
        "iscrowd": 0,
        "segmentation": [[float(v) for v in outline.ravel()]],
    }


def _count_images(root, split):
    """Images that have annotations."""
    if not (root / "annotations" / f"instances_{split}2017.json").is_file():
        return 0
    return len(list((root / f"{split}2017").glob("*.jpg")))


def _licences():
    """COCO licence entries; every image contains digits and one photo, so each entry names both licences."""
    return [
        {"id": i, "name": f"photo: {licence}; digits: {DIGITS_LICENCE}", "url": LICENCE_URLS[licence]}
        for i, licence in enumerate(_PHOTO_LICENCES, start=1)
    ]


def _write_split(root, split, count, seed):
    image_folder = root / f"{split}2017"
    image_folder.mkdir(exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, annotations, provenance = [], [], []
    for index in range(count):
        image, objects, origin = make_image(split, index, seed)
        image_id = FIRST_IMAGE_ID[split] + index
        file_name = f"{image_id:012d}.jpg"
        image.save(image_folder / file_name, quality=JPEG_QUALITY)
        licence = PHOTOS[origin["photos"][0][0]].licence
        images.append(
            {
                "id": image_id,
                "file_name": file_name,
                "height": HEIGHT,
                "width": WIDTH,
                "license": _PHOTO_LICENCES.index(licence) + 1,
            }
        )
        annotations += [annotation(obj, image_id, number) for number, obj in enumerate(objects, start=1)]
        provenance.append({"file": f"{split}2017/{file_name}", **origin})
    folder.write_json(
        root / "annotations" / f"instances_{split}2017.json",
        {
            "info": {
                "description": "ffc_dense mini COCO: handwritten digits on plates over photographs",
                "version": str(folder.VERSION),
                "year": 2026,
                "contributor": "ffc_dense",
                "url": "",
                "date_created": "2026/01/01",
            },
            "licenses": _licences(),
            "images": images,
            "annotations": annotations,
            "categories": [{"id": d + 1, "name": str(d), "supercategory": "digit"} for d in range(10)],
        },
    )
    return {"images": len(images), "objects": len(annotations)}, provenance
