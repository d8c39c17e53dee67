"""The check of a dataset in ImageNet's layout: class folders, their order, and every image."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..pictures.reading import UnreadableError, read_size
from .layout import MINI, SPLITS, check_count, expected_counts, find_root, look_below
from .parallel import default_workers, over_files
from .report import Report

COUNTS = {"train": 1_281_167, "val": 50_000}
NUM_CLASSES, MINI_CLASSES = 1000, 10
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif")  # what mmpretrain reads; torchvision: more
WORDNET = re.compile(r"n\d{8}")


@dataclass
class SplitFolder:
    """Class folder -> its images, relative to it; files that are no images, relative to the split."""

    classes: dict[str, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def check_imagenet(
    path,
    report: Report,
    splits: Sequence[str] = SPLITS,
    counts: Mapping[str, int | None] | None = None,
    any_size: bool = False,
    num_classes: int | None = None,
    fast: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Check a dataset in ImageNet's layout, ``train/CLASS/*.JPEG`` and ``val/CLASS/*.JPEG``; faults go to ``report``.

    The label of an image is the place of its class folder among all, sorted by name, as mmpretrain and torchvision have
    it: both count every folder, hidden ones too.

    Args:
        path: the folder with train/ and val/, or the one above it, with imagenet/ in it.
        splits: "train", "val" or both.
        counts: split -> number of images that it must have, for datasets that are neither ImageNet nor the mini one.
        any_size: check no number of images, nor of classes unless ``num_classes`` is given.
        num_classes: class folders that each split must have. Default: 1000, the mini dataset's 10, or with ``counts`` or
            ``any_size`` any number.
        fast: read the images' headers and ends only, which leaves files unfound that are damaged in between.
        workers: processes. Default: one per core, at most 16.
    """
    path = Path(path)
    root = find_root(path, "imagenet", SPLITS)
    if not any((root / split).is_dir() for split in SPLITS):
        report.add("layout", path, f"has none of the folders {', '.join(SPLITS)}", look_below(root, SPLITS))
        return
    if root != path:
        report.note(f"checking {root}")
    given = {split: (counts or {}).get(split) for split in COUNTS}
    expected, source = expected_counts(root, COUNTS, given, any_size, report, MINI_CLASSES)
    if source == MINI:
        num_classes = num_classes or MINI_CLASSES
    elif not any_size and all(number is None for number in given.values()):
        num_classes = num_classes or NUM_CLASSES
    found = {}
    for split in splits:
        folder = _split_folder(root / split, split, report)
        if folder is None:
            continue
        found[split] = folder
        _classes(root / split, split, folder, num_classes, report)
        number = sum(map(len, folder.classes.values()))
        check_count(report, root / split, split, number, expected[split], source)
        report.note(f"{split}: {number:,} images in {len(folder.classes):,} classes")
        tasks = [
            (str(root / split / name / image), not fast) for name, images in folder.classes.items() for image in images
        ]
        for problem in over_files(check_image, tasks, workers or default_workers(), f"{split} images", progress):
            if problem is not None:
                report.add("unreadable", *problem, "copy or fetch the file again")
    if len(found) == 2:
        _same_order(root, found, report)


def check_image(task: tuple[str, bool]) -> tuple[str, str] | None:
    """(path, why) of an image that cannot be read. task: the path, and whether to decode it."""
    try:
        read_size(*task)
    except UnreadableError as error:
        return task[0], str(error)
    return None


def _split_folder(folder: Path, split: str, report: Report) -> SplitFolder | None:
    if not folder.is_dir():
        report.add("layout", folder, f"the folder {split} is not there",
                   f"unpack it there; without {split}, give --split {SPLITS[1 - SPLITS.index(split)]}")
        return None
    found = SplitFolder()
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.is_dir():
            _list_class(folder, entry.name, found)
        elif not entry.name.startswith("."):
            found.others.append(entry.name)
    if not found.classes:
        loose = [name for name in found.others if name.lower().endswith(SUFFIXES)]
        if loose:
            report.add("layout", folder, f"holds {len(loose):,} images and no class folders",
                       "move each image into the folder of its class (ImageNet's val archive is flat: its ground truth "
                       "or the usual valprep script says which)")
        else:
            report.add("empty-folder", folder, f"holds no class folders of {split}", "unpack the archive there")
        return None
    return found


def _list_class(folder: Path, name: str, found: SplitFolder) -> None:
    images = found.classes[name] = []
    for current, folders, files in os.walk(folder / name):
        folders.sort()
        for file in sorted(each for each in files if not each.startswith(".")):
            relative = os.path.relpath(os.path.join(current, file), folder / name)
            if file.lower().endswith(SUFFIXES):
                images.append(relative)
            else:
                found.others.append(os.path.join(name, relative))


def _classes(folder: Path, split: str, found: SplitFolder, num_classes: int | None, report: Report) -> None:
    names = list(found.classes)
    if num_classes is not None and len(names) != num_classes:
        odd = [name for name in names if not WORDNET.fullmatch(name)]
        named = f"; not named as ImageNet's classes: {_some(odd)}" if odd and len(odd) < len(names) else ""
        report.add("num-classes", folder, f"{split} has {len(names):,} class folders, not {num_classes:,}{named}",
                   f"unpack what is missing or move away what is too much; for other classes, say --classes {len(names)}")
    for name, images in found.classes.items():
        if not images:
            report.add("empty-folder", folder / name, "the class has no images", "unpack its archive again, or remove "
                       "the folder from train and val (the classes behind it get other labels)")
    if all(name.isdecimal() for name in names) and names != (numeric := sorted(names, key=int)):
        place = next(i for i, name in enumerate(names) if name != numeric[i])
        report.add("class-order", folder, f"folders are sorted as text: {names[place]} gets label {place}, before "
                   f"{numeric[place]}", "name them with as many digits each if labels are to follow the numbers")
    for name in found.others:
        report.add("not-image", folder / name, f"no image that is read ({' '.join(SUFFIXES)})", "convert it or move it "
                   "away")


def _same_order(root: Path, found: dict[str, SplitFolder], report: Report) -> None:
    train, val = (list(found[split].classes) for split in SPLITS)
    if train == val:
        return
    lacking, further = sorted({*train} - {*val}), sorted({*val} - {*train})
    parts = [f"{text} {_some(names)}" for text, names in (("lacks", lacking), ("has besides", further)) if names]
    place = next((i for i, (a, b) in enumerate(zip(train, val, strict=False)) if a != b), min(len(train), len(val)))
    report.add("category-mismatch", root / "val", f"its classes are not those of train: it {' and '.join(parts)}; labels "
               f"from {place} on mean other classes", "give both the same class folders")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
