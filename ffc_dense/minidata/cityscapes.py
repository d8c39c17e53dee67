"""The mini Cityscapes dataset: street scenes with digit plates, in Cityscapes' folder layout.

Plates with the digits 0, 1, 4 and 7 stand in for the thing classes person, rider, car and bicycle. Plates
with another digit or a mark are distractors: they are painted but keep the label of what lies under them.
Occluders are labelled 'static', which evaluation ignores. All label images are drawn from the polygons that
the JSON file holds.
"""

import numpy as np
from PIL import Image, ImageDraw

from . import folder
from .clutter import add_noise, as_points, make_occluder, random_colour
from .drawing import digit_ink, make_plate, mark_ink, paste, place
from .sources import SPLITS, random_digit
from .street import HEIGHT, TEXTURES, WIDTH, ego_vehicle, layout, texture, to_polygon

CITIES = {"train": "minitown", "val": "minihaven"}
FRAME = 19  # Cityscapes labels frame 19 of each 30-frame sequence
OBJECTS = (2, 5)  # least and most things per image
PLATE_HEIGHT = (24.0, 42.0)  # pixels, before the tilt
THING_OF_DIGIT = {0: "person", 1: "rider", 4: "car", 7: "bicycle"}
DISTRACTOR_DIGITS = (2, 3, 5, 8)  # 6 and 9 are left out: at 8x8 pixels they pass for 0, 4 and 7
IGNORED = 255
PNG_EFFORT = 2  # of 9: files grow by about 10 % over the default of 6 and are written a third faster
LAYOUT_CODE = 1  # part of the random seed; COCO uses another

# name: (labelId, trainId, colour), from the Cityscapes label table
LABELS = {
    "unlabeled": (0, IGNORED, (0, 0, 0)),
    "ego vehicle": (1, IGNORED, (0, 0, 0)),
    "static": (4, IGNORED, (0, 0, 0)),
    "road": (7, 0, (128, 64, 128)),
    "sidewalk": (8, 1, (244, 35, 232)),
    "building": (11, 2, (70, 70, 70)),
    "vegetation": (21, 8, (107, 142, 35)),
    "terrain": (22, 9, (152, 251, 152)),
    "sky": (23, 10, (70, 130, 180)),
    "person": (24, 11, (220, 20, 60)),
    "rider": (25, 12, (255, 0, 0)),
    "car": (26, 13, (0, 0, 142)),
    "bicycle": (33, 18, (119, 11, 32)),
}
THINGS = tuple(THING_OF_DIGIT.values())


def make_mini_cityscapes(root, num_train=300, num_val=80, seed=0):
    """Write the mini Cityscapes dataset to `root` unless it is there already; return `root` as a Path.

    Identical arguments give identical bytes for given library versions. Raises DatasetFolderError when
    `root` is a non-empty folder that was not made by this function.
    """
    parameters = {"num_train": num_train, "num_val": num_val, "seed": seed}
    top_folders = ("leftImg8bit", "gtFine")
    return folder.generate(root, "cityscapes", top_folders, parameters, _count_images, _write_split)


def make_scene(split, index, seed):
    """Scene number `index` of `split`.

    Returns (RGB image, objects as (label, polygon) in painting order, provenance).
    """
    rng = np.random.default_rng([seed, LAYOUT_CODE, SPLITS.index(split), index])
    objects = layout(rng)
    image, photo_boxes = _paint_stuff(rng, split, objects)
    bonnet = ego_vehicle(rng) if rng.random() < 0.4 else None
    area = (0, 18, WIDTH, HEIGHT if bonnet is None else min(y for _, y in bonnet))
    taken, outlines, digit_ids = [], [], []

    def add(plate):
        """Paste a plate where there is room; returns its outline in the image or None."""
        corner = place(rng, plate.size, area, taken)
        if corner is None:
            return None
        paste(image, plate, corner)
        return plate.outline + corner

    for _ in range(int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))):
        digit = int(rng.choice(list(THING_OF_DIGIT)))
        ink, digit_id = random_digit(rng, split, digit)
        outline = add(make_plate(rng, rng.uniform(*PLATE_HEIGHT), lambda h, ink=ink: digit_ink(ink, h)))
        if outline is not None:
            digit_ids.append(digit_id)
            outlines.append(outline)
            # Pillow counts pixel centres, the outline pixel edges: half a pixel apart.
            objects.append((THING_OF_DIGIT[digit], to_polygon(outline - 0.5)))
    for _ in range(int(rng.integers(1, 3))):
        height = rng.uniform(*PLATE_HEIGHT)
        if rng.random() < 0.5:
            add(make_plate(rng, height, lambda h: mark_ink(rng, h)))
        else:
            ink, digit_id = random_digit(rng, split, int(rng.choice(DISTRACTOR_DIGITS)))
            if add(make_plate(rng, height, lambda h, ink=ink: digit_ink(ink, h))) is not None:
                digit_ids.append(digit_id)
    draw = ImageDraw.Draw(image)
    occluder = make_occluder(rng, image.size, outlines) if rng.random() < 0.4 else None
    if occluder is not None:
        objects.append(("static", to_polygon(occluder)))
        draw.polygon(as_points(objects[-1][1]), fill=random_colour(rng, 40, 200))
    if bonnet is not None:
        objects.append(("ego vehicle", bonnet))
        draw.polygon(as_points(bonnet), fill=random_colour(rng, 15, 60))
    return add_noise(rng, image), objects, {"digits": digit_ids, "photos": photo_boxes}


def _paint_stuff(rng, split, objects):
    """Fill each stuff polygon with its class's texture: (RGB image, photo boxes used)."""
    textures = {label: texture(rng, split, label) for label in TEXTURES}
    canvas = Image.new("RGB", (WIDTH, HEIGHT))
    for label, polygon in objects:
        factor = rng.uniform(0.9, 1.1)  # neighbouring houses and trees differ a little
        mask = Image.new("1", canvas.size, 0)
        ImageDraw.Draw(mask).polygon(as_points(polygon), fill=1)
        canvas.paste(textures[label][0].point(lambda v, f=factor: v * f), mask=mask)
        if label == "building":
            _paint_windows(rng, canvas, polygon)
    return canvas, [box for _, box in textures.values()]


def _paint_windows(rng, canvas, polygon):
    """Rows of dark windows inside a house's walls; they carry the house's label."""
    xs, ys = zip(*polygon, strict=True)
    top = sorted(ys)[-3]  # the lower of the two eaves, below a pitched roof
    colour = tuple(int(v) for v in rng.uniform(0.8, 1.2) * np.array([62, 74, 92]))
    draw = ImageDraw.Draw(canvas)
    for y in range(top + 4, max(ys) - 7, 11):
        for x in range(min(xs) + 4, max(xs) - 7, 10):
            draw.rectangle((x, y, x + 4, y + 6), fill=colour)


def draw_labels(objects):
    """Rasterise (label, polygon) objects in order, later ones on top.

    Returns a dict of images of the scene's size: labelIds and labelTrainIds uint8, instanceIds uint16
    (labelId * 1000 + k for the k-th thing of a class, labelId for stuff) and color RGBA.
    """
    size = (WIDTH, HEIGHT)
    ids, train_ids = Image.new("L", size, 0), Image.new("L", size, IGNORED)
    instances, colours = Image.new("I", size, 0), Image.new("RGBA", size, (0, 0, 0, 255))
    seen = dict.fromkeys(THINGS, 0)
    for label, polygon in objects:
        label_id, train_id, colour = LABELS[label]
        instance = label_id
        if label in seen:
            instance = label_id * 1000 + seen[label]
            seen[label] += 1
        points = [tuple(p) for p in polygon]
        values = (label_id, train_id, instance, colour)
        for image, value in zip((ids, train_ids, instances, colours), values, strict=True):
            ImageDraw.Draw(image).polygon(points, fill=value)
    # Pillow no longer writes 32-bit PNG; 16 bits hold every id, the largest being 33 * 1000 + k.
    instances = Image.fromarray(np.asarray(instances).astype(np.uint16))
    return {"labelIds": ids, "labelTrainIds": train_ids, "instanceIds": instances, "color": colours}


def _count_images(root, split):
    """Images that have labels."""
    images = (root / "leftImg8bit" / split / CITIES[split]).glob("*_leftImg8bit.png")
    labels = (root / "gtFine" / split / CITIES[split]).glob("*_gtFine_labelTrainIds.png")
    return min(len(list(images)), len(list(labels)))


def _write_split(root, split, count, seed):
    city = CITIES[split]
    images, labels = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    provenance, num_things = [], 0
    for index in range(count):
        image, objects, origin = make_scene(split, index, seed)
        stem = f"{city}_{index:06d}_{FRAME:06d}"
        for kind, label_image in draw_labels(objects).items():
            label_image.save(labels / f"{stem}_gtFine_{kind}.png", compress_level=PNG_EFFORT)
        folder.write_json(
            labels / f"{stem}_gtFine_polygons.json",
            {
                "imgHeight": HEIGHT,
                "imgWidth": WIDTH,
                "objects": [{"label": label, "polygon": polygon} for label, polygon in objects],
            },
        )
        image.save(images / f"{stem}_leftImg8bit.png", compress_level=PNG_EFFORT)
        provenance.append({"file": f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", **origin})
        num_things += sum(label in THINGS for label, _ in objects)
    return {"images": count, "objects": num_things}, provenance
