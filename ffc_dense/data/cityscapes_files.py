"""The files of one split in Cityscapes' layout: images, their labels, and names that fit neither.

A stem is what image and label have in common: the path below the split's folder without its suffix,
``aachen/aachen_000000_000019``. mmseg pairs the two by it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..pictures.reading import SUFFIXES
from .report import Report

IMAGES, LABELS = "leftImg8bit", "gtFine"
IMAGE_SUFFIX = "_leftImg8bit.png"
TRAIN_IDS, LABEL_IDS, POLYGONS = "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png", "_gtFine_polygons.json"
# The other files of gtFine_trainvaltest.zip, and those that cityscapesscripts makes.
OTHER_LABELS = ("_gtFine_color.png", "_gtFine_instanceIds.png", "_gtFine_instanceTrainIds.png")


@dataclass
class SplitFiles:
    """Stems by kind of file, and the files with other names."""

    images: set[str] = field(default_factory=set)
    labels: dict[str, set[str]] = field(default_factory=dict)  # suffix -> stems
    misnamed_images: list[str] = field(default_factory=list)  # relative paths
    misnamed_labels: list[str] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)

    def labelled(self) -> set[str]:
        return set().union(*self.labels.values())


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(relative folder or '', file names) of a folder and those below; links are followed, but never in a circle."""
    seen = set()
    for current, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = os.path.relpath(current, folder)
        visible = sorted(name for name in names if not name.startswith("."))
        if visible or not folders:
            yield "" if relative == "." else relative, visible


def list_split(root: Path, split: str) -> SplitFiles:
    """Every file of leftImg8bit/SPLIT and gtFine/SPLIT; a folder that is not there holds none."""
    found = SplitFiles(labels={suffix: set() for suffix in (TRAIN_IDS, LABEL_IDS, POLYGONS, *OTHER_LABELS)})
    for relative, names in _walk(root / IMAGES / split):
        if not names:
            found.empty_folders.append(os.path.join(IMAGES, split, relative))
        for name in names:
            if name.endswith(IMAGE_SUFFIX):
                found.images.add(os.path.join(relative, name.removesuffix(IMAGE_SUFFIX)))
            elif name.lower().endswith(SUFFIXES):
                found.misnamed_images.append(os.path.join(relative, name))
    for relative, names in _walk(root / LABELS / split):
        if not names:
            found.empty_folders.append(os.path.join(LABELS, split, relative))
        for name in names:
            suffix = next((suffix for suffix in found.labels if name.endswith(suffix)), None)
            if suffix is not None:
                found.labels[suffix].add(os.path.join(relative, name.removesuffix(suffix)))
            elif name.lower().endswith(SUFFIXES):
                found.misnamed_labels.append(os.path.join(relative, name))
    return found


def _probable_stem(path: str) -> str:
    """The stem of a misnamed file: city, sequence and frame are the first three parts of its name."""
    folder, name = os.path.split(path)
    return os.path.join(folder, "_".join(os.path.splitext(name)[0].split("_")[:3]))


def check_names(root: Path, split: str, files: SplitFiles, report: Report) -> list[str]:
    """Report misnamed and missing files; returns the stems that have both image and labelTrainIds, sorted."""
    images, labels = root / IMAGES / split, root / LABELS / split
    for path in files.misnamed_images:
        report.add("wrong-suffix", images / path, f"the name does not end with {IMAGE_SUFFIX}; mmseg does not see it",
                   f"rename it to CITY_SEQUENCE_FRAME{IMAGE_SUFFIX} (another format: convert it), or move it away")
    for path in files.misnamed_labels:
        report.add("wrong-suffix", labels / path, f"the name does not end with {TRAIN_IDS} or another suffix of gtFine",
                   f"rename labels to CITY_SEQUENCE_FRAME{TRAIN_IDS}, or move the file away")
    explained = {_probable_stem(path) for path in files.misnamed_images}
    for stem in sorted(files.labelled() - files.images - explained):
        report.add("missing-image", images / (stem + IMAGE_SUFFIX), "the labels' image is not there",
                   "unpack leftImg8bit_trainvaltest.zip again, or remove its labels")
    _missing_labels(root, split, files, report)
    return sorted(files.images & files.labels[TRAIN_IDS])


def _missing_labels(root: Path, split: str, files: SplitFiles, report: Report) -> None:
    labels = root / LABELS / split
    explained = {_probable_stem(path) for path in files.misnamed_labels}
    makeable = files.labels[POLYGONS]
    without = sorted(files.images - files.labels[TRAIN_IDS] - explained)
    unmade = [stem for stem in without if stem in files.labelled()]
    for stem in sorted(set(without) - set(unmade)):
        report.add("missing-label", labels / (stem + TRAIN_IDS), f"the image {stem}{IMAGE_SUFFIX} has no label",
                   "unpack gtFine_trainvaltest.zip again, or remove the image")
    make = "make them from the polygons: run this check with --make-train-ids"
    if unmade and not files.labels[TRAIN_IDS] and makeable:
        report.add("missing-train-ids", labels, f"none of the {len(unmade):,} images of {split} has labelTrainIds; the "
                   "download does not hold them", make)
    else:
        for stem in unmade:
            remedy = make if stem in makeable else "unpack gtFine_trainvaltest.zip again, then --make-train-ids"
            report.add("missing-train-ids", labels / (stem + TRAIN_IDS), "the image has labels, but no labelTrainIds",
                       remedy)
    if split == "val":
        lacking = sorted((files.images & files.labels[TRAIN_IDS]) - files.labels[LABEL_IDS])
        if lacking:
            report.add("missing-label-ids", labels / (lacking[0] + LABEL_IDS), f"not there; {len(lacking):,} images of "
                       "val have no labelIds", "cityscapesscripts' evaluation reads them (mmseg's IoUMetric does not): "
                       "unpack gtFine_trainvaltest.zip again")
