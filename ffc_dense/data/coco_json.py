"""Checks of one annotation file in COCO's instances format, without its images."""

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .report import WARNING, Report

LISTS = ("images", "annotations", "categories")
ROUNDING = 1.0  # pixels that a box may leave the image by
LEAST_SIDE = 1e-5  # detectron2's threshold for an empty box
FIX_JSON = "correct the annotation file or make it again"


@dataclass
class Instances:
    """What later checks need: valid image records, and the categories {id: name} sorted by id."""

    images: list[dict]
    categories: dict[int, str] = field(default_factory=dict)


def read_instances(path: Path, split: str, report: Report) -> Instances | None:
    """Check the file and note what it holds; None if it cannot be used at all.

    Args:
        split: "train", "val" or "test". An empty annotation list is an error in train; val needs what pycocotools
            reads; test may have no list.
    """
    content = _load(path, report, LISTS if split != "test" else ("images", "categories"))
    if content is None:
        return None
    categories = _categories(path, content["categories"], report)
    images = _images(path, content["images"], report)
    annotations = content["annotations"] if isinstance(content.get("annotations"), list) else []
    if not annotations and split != "test":
        report.add("no-annotations", path, f"{split} has no annotations", "take the file that has them (instances_*); "
                   "there is nothing to " + ("learn" if split == "train" else "evaluate"),
                   severity="" if split == "train" else WARNING)
    used, boxes, crowds = _annotations(path, split, annotations, images, categories, report)
    note = f"{split}: {len(images):,} images, {boxes:,} boxes ({crowds:,} crowds), {len(categories):,} categories"
    empty = len(images) - len(used["images"])
    if empty:
        note += f"; {empty:,} images have no box, which is legal"
        if split == "train":
            note += " (detectron2 leaves them out unless DATALOADER.FILTER_EMPTY_ANNOTATIONS is False)"
    unused = [name for key, name in categories.items() if key not in used["categories"]]
    if unused and annotations:
        shown = ", ".join(unused[:10]) + (", ..." if len(unused) > 10 else "")
        note += f"; {len(unused)} categories have no box: {shown}"
    report.note(note)
    return Instances(list(images.values()), categories)


def mapping_text(ids: list[int]) -> str:
    """How detectron2 maps the sorted category ids to classes, run by run: '1-11 -> 0-10, 13-25 -> 11-23'."""
    runs, start = [], 0
    for i in range(1, len(ids) + 1):
        if i == len(ids) or ids[i] != ids[i - 1] + 1:
            low, high = ids[start], ids[i - 1]
            runs.append(f"{low} -> {start}" if low == high else f"{low}-{high} -> {start}-{i - 1}")
            start = i
    return ", ".join(runs)


def _load(path: Path, report: Report, lists: tuple[str, ...]) -> dict | None:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        report.add("json", path, f"the file cannot be read ({error.strerror})", "check its permissions and the disk")
        return None
    except (ValueError, RecursionError) as error:  # the first also for bytes that are not UTF-8
        report.add("json", path, f"the file is no valid JSON ({error})", "fetch or unpack it again")
        return None
    if not isinstance(content, dict):
        report.add("json", path, f"expected an object with the lists {', '.join(lists)}, got a "
                   f"{type(content).__name__}", "give the instances_*.json, not a result file")
        return None
    missing = [name for name in lists if not isinstance(content.get(name), list)]
    if missing:
        report.add("json", path, f"the lists {', '.join(missing)} are missing", "give an annotation file of instances "
                   "(image_info_* has no annotations)")
        return None
    return content


def _is_id(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _record_fault(record, kinds: dict[str, str]) -> str:
    """What is wrong with the keys of a record, or ''. kinds: key -> 'id', 'size' (a positive integer) or 'text'."""
    if not isinstance(record, dict):
        return f"expected an object, got {record!r:.60}"
    for key, kind in kinds.items():
        if key not in record:
            return f"has no {key!r}"
        value = record[key]
        valid = isinstance(value, str) and value if kind == "text" else _is_id(value) and (kind == "id" or value > 0)
        if not valid:
            expected = {"id": "an integer", "size": "a positive integer", "text": "a name"}[kind]
            return f"{key!r} is {value!r:.60}, expected {expected}"
    return ""


def _name(name: str, index: int, record) -> str:
    identity = record.get("id") if isinstance(record, dict) else None
    return f"{name} {identity}" if _is_id(identity) else f"{name} number {index} of the list"


def _checked(path, name, records, kinds, report):
    """The records without a fault, by id."""
    found = {}
    for index, record in enumerate(records):
        fault = _record_fault(record, kinds)
        if fault:
            report.add("record", path, f"{_name(name, index, record)}: {fault}", FIX_JSON)
        elif record["id"] in found:
            report.add("duplicate-id", path, f"{name} id {record['id']} occurs more than once",
                       "give each its own id (merged files need new ids)")
        else:
            found[record["id"]] = record
    return found


def _categories(path: Path, records: list, report: Report) -> dict[int, str]:
    if not records:
        report.add("record", path, "the list of categories is empty", FIX_JSON)
    found = _checked(path, "category", records, {"id": "id", "name": "text"}, report)
    return {key: found[key]["name"] for key in sorted(found)}


def _images(path: Path, records: list, report: Report) -> dict[int, dict]:
    if not records:
        report.add("record", path, "the list of images is empty", FIX_JSON)
    kinds = {"id": "id", "file_name": "text", "height": "size", "width": "size"}
    found = _checked(path, "image", records, kinds, report)
    names = Counter(record["file_name"] for record in found.values())
    for name, times in names.items():
        if times > 1:
            report.add("duplicate-file", path, f"{times} image ids name the file {name}",
                       "keep one image record per file, with all its annotations")
    return found


def _annotations(path, split, records, images, categories, report):
    """({"images": ids with a box, "categories": ids with a box}, number of boxes, number of crowds)."""
    kinds = {"id": "id", "image_id": "id", "category_id": "id"}
    checked = _checked(path, "annotation", records, kinds, report)
    used = {"images": set(), "categories": set()}
    crowds = 0
    for key, record in checked.items():
        name = f"annotation {key}"
        image = images.get(record["image_id"])
        if image is None:
            report.add("orphan-annotation", path, f"{name} is for the image {record['image_id']}, which is not in the "
                       "list of images", "take images and annotations from the same file")
            continue
        name += f" of {image['file_name']}"
        if record["category_id"] not in categories:
            report.add("category", path, f"{name} has the category {record['category_id']}, which is not in the list "
                       f"of categories ({mapping_text(list(categories)).replace(' -> ', ' as ') or 'empty'})",
                       "add the category to the list or correct the annotation; ids count as listed, not from 0")
        if record.get("ignore", 0):
            report.add("ignore-flag", path, f"{name} has 'ignore' {record['ignore']!r:.20}, which detectron2 refuses",
                       "remove the annotation, or mark it as 'iscrowd' 1")
        if split == "val":
            _evaluated(path, name, key, record, report)
        _box(path, name, record, image, report)
        _polygons(path, name, record, report)
        used["images"].add(record["image_id"])
        used["categories"].add(record["category_id"])
        crowds += bool(record.get("iscrowd", 0))
    return used, len(checked), crowds


def _evaluated(path, name, key, record, report):
    """COCOeval indexes 'area' and 'iscrowd', and takes an id of 0 for 'not matched'."""
    for needed in ("area", "iscrowd"):
        if not isinstance(record.get(needed), (int, float)):
            report.add("record", path, f"{name}: {needed!r} is {record.get(needed)!r:.20}, expected a number; "
                       "pycocotools' evaluation reads it", FIX_JSON)
    if key == 0:
        report.add("annotation-zero", path, f"{name} has the id 0, which pycocotools' evaluation takes for 'not "
                   "matched'", "number the annotations from 1")


def _is_number(value) -> bool:
    # A comparison, for math.isfinite cannot take the integers of any length that JSON may hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _box(path, name, record, image, report):
    box = record.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        report.add("box", path, f"{name}: 'bbox' is {box!r:.60}, expected [x, y, width, height]", FIX_JSON)
        return
    x, y, width, height = box
    if width < 0 or height < 0:
        report.add("box", path, f"{name}: the box {box} has a negative width or height, which detectron2 turns over",
                   "boxes are [x, y, width, height] in pixels, x and y at the upper left")
    elif min(x, y) < -ROUNDING or x + width > image["width"] + ROUNDING or y + height > image["height"] + ROUNDING:
        report.add("box-outside", path, f"{name}: the box {box} leaves the image of {image['width']} x "
                   f"{image['height']} pixels", "boxes are [x, y, width, height] in pixels, neither [x1, y1, x2, y2] "
                   "nor relative; detectron2 cuts them at the border")
    elif min(width, height) <= LEAST_SIDE:
        report.add("box-empty", path, f"{name}: the box {box} has no area; detectron2 drops it in training",
                   "remove the annotation or correct its box")


def _polygons(path, name, record, report):
    polygons = record.get("segmentation")
    if isinstance(polygons, list) and polygons and not any(
        isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons
    ):
        report.add("polygon", path, f"{name}: no polygon of 'segmentation' has three points; detectron2 drops the "
                   "annotation", "correct the polygon, or remove 'segmentation' to keep the box alone")
