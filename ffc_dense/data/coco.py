"""The check of a dataset in COCO's layout: annotation files, image files, and train against val."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .coco_json import Instances, mapping_text, read_instances
from ..pictures.reading import SUFFIXES, UnreadableError, read_size
from .layout import SPLITS, check_count, expected_counts, find_root, look_below
from .parallel import default_workers, over_files
from .report import Report

COUNTS = {"train": 118_287, "val": 5_000}  # of COCO 2017
ANNOTATIONS = "annotations"
FOLDERS = (ANNOTATIONS, "train2017", "val2017")


@dataclass(frozen=True)
class ImageTask:
    """An image file and the size (width, height) that the annotation file gives it."""

    path: str
    size: tuple[int, int]
    decode: bool


def check_coco(
    path,
    report: Report,
    splits: Sequence[str] = SPLITS,
    files: Mapping[str, tuple[str, str]] | None = None,
    counts: Mapping[str, int | None] | None = None,
    any_size: bool = False,
    num_classes: int | None = None,
    fast: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Check a dataset in COCO's format; what is found goes to ``report``.

    Args:
        path: the folder with annotations/, train2017/ and val2017/, or the one above it, with coco/ in it.
        splits: "train", "val" or both.
        files: for another layout: split -> (annotation file, image folder), relative to ``path``. Such a dataset may
            have any number of images.
        counts: split -> number of images that it must have, for datasets that are neither COCO 2017 nor the mini one.
        any_size: check no number of images.
        num_classes: number of categories that the dataset must have.
        fast: read the images' headers and ends only, which leaves files unfound that are damaged in between.
        workers: processes. Default: one per core, at most 16.
    """
    path = Path(path)
    given = {split: (counts or {}).get(split) for split in COUNTS}
    custom = bool(files)
    if custom:
        root = path
        splits = [split for split in splits if split in files]
    else:
        root = find_root(path, "coco", FOLDERS)
        if not any((root / folder).is_dir() for folder in FOLDERS):
            report.add("layout", path, f"has none of the folders {', '.join(FOLDERS)}", look_below(root, FOLDERS))
            return
        files = {s: (f"{ANNOTATIONS}/instances_{s}2017.json", f"{s}2017") for s in splits}
        if (root / ANNOTATIONS).is_dir() and not any((root / ANNOTATIONS).iterdir()):
            report.add("empty-folder", root / ANNOTATIONS, "the folder is empty", "unpack annotations_trainval2017.zip")
            return
    if root != path:
        report.note(f"checking {root}")
    expected, source = expected_counts(root, COUNTS, given, any_size or custom, report)

    found: dict[str, Instances] = {}
    for split in splits:
        json_file, folder = root / files[split][0], root / files[split][1]
        instances = _annotation_file(json_file, split, report)
        if instances is None:
            continue
        found[split] = instances
        check_count(report, json_file, split, len(instances.images), expected[split], source)
        check_image_files(json_file, folder, split, instances, report, fast, workers or default_workers(), progress)
    _categories(root, files, found, num_classes, report)


def _annotation_file(path: Path, split: str, report: Report) -> Instances | None:
    if path.is_file():
        return read_instances(path, split, report)
    report.add("layout", path, f"the annotation file of {split} is not there",
               f"unpack annotations_trainval2017.zip; without {split}, give --split {_other(split)}")
    return None


def _other(split: str) -> str:
    return SPLITS[1 - SPLITS.index(split)]


def check_image_files(
    json_file: Path,
    folder: Path,
    split: str,
    instances: Instances,
    report: Report,
    fast: bool,
    workers: int,
    progress: bool = False,
) -> None:
    """Check the images of one annotation file; arguments as in :func:`check_coco`."""
    fetch = f"fetch the images of {split} again ({folder.name}.zip of COCO)"
    if not folder.is_dir():
        report.add("layout", folder, f"the image folder of {split} is not there", fetch)
        return
    present = {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")}
    if not present:
        report.add("empty-folder", folder, f"the image folder of {split} is empty", fetch)
        return
    tasks = []
    for record in instances.images:
        name = record["file_name"]
        path = folder / name
        if name in present or (os.path.dirname(name) and path.is_file()):
            tasks.append(ImageTask(str(path), (record["width"], record["height"]), decode=not fast))
        else:
            report.add("missing-image", path, f"the image {record['id']} of {json_file.name} is not there",
                       "fetch it again, or remove it and its annotations from the annotation file")
    listed = {record["file_name"] for record in instances.images}
    unlisted = sorted(name for name in present - listed if name.lower().endswith(SUFFIXES))
    if unlisted:
        report.add("unlisted-image", folder, f"{len(unlisted):,} images are not in {json_file.name}, as "
                   f"{unlisted[0]}; they are never read", "check that folder and annotation file belong together")
    for faults in over_files(check_image, tasks, workers, f"{split} images", progress):
        for kind, path, message, remedy in faults:
            report.add(kind, path, message, remedy)


def check_image(task: ImageTask) -> list[tuple[str, str, str, str]]:
    """The faults (kind, path, message, remedy) of one image file."""
    try:
        width, height, orientation = read_size(task.path, task.decode)
    except UnreadableError as error:
        return [("unreadable", task.path, str(error), "copy or fetch the file again")]
    if (width, height) == task.size:
        return []
    turned = f" after its EXIF orientation {orientation}" if orientation != 1 else ""
    message = (f"the image has {width} x {height} pixels{turned}, the annotation file says "
               f"{task.size[0]} x {task.size[1]}")
    return [("image-size", task.path, message,
             "restore the original image, or correct 'width', 'height' and the boxes")]


def _categories(root, files, found, num_classes, report):
    """One list of categories for all splits, and how detectron2 makes classes of it."""
    if not found:
        return
    split, instances = next(iter(found.items()))
    categories = instances.categories
    if len(found) == 2 and found["val"].categories != categories:
        other = found["val"].categories
        differing = sorted(key for key in categories.keys() | other.keys() if categories.get(key) != other.get(key))
        key = differing[0]
        report.add("category-mismatch", root / files["val"][0], f"{len(differing)} categories differ from those of "
                   f"train: id {key} is {categories.get(key)!r} in train and {other.get(key)!r} in val",
                   "write the same list of categories into both files")
    if not categories:
        return
    ids = list(categories)
    gaps = "contiguous" if ids[-1] - ids[0] + 1 == len(ids) else "with gaps, which is legal"
    report.note(f"category ids, {gaps}; detectron2 maps them to classes: {mapping_text(ids)}; "
                f"MODEL.ROI_HEADS.NUM_CLASSES is {len(ids)}")
    if num_classes is not None and num_classes != len(ids):
        report.add("num-classes", root / files[split][0], f"the file has {len(ids)} categories, not {num_classes}",
                   f"set MODEL.ROI_HEADS.NUM_CLASSES (or MODEL.RETINANET.NUM_CLASSES) to {len(ids)}")
