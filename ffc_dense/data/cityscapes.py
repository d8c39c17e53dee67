"""The check of a dataset in Cityscapes' layout: names, pairs of image and label, and the labels' values."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .cityscapes_files import IMAGE_SUFFIX, IMAGES, LABEL_IDS, LABELS, POLYGONS, TRAIN_IDS, check_names, list_split
from .cityscapes_labels import FETCH_LABEL, NUM_CLASSES, REMAKE, PairTask, check_pair
from .layout import SPLITS, check_count, expected_counts, find_root, look_below
from .parallel import default_workers, over_files
from .report import Report

COUNTS = {"train": 2_975, "val": 500}
FOLDERS = (IMAGES, LABELS)
ZIPS = {IMAGES: "leftImg8bit_trainvaltest.zip", LABELS: "gtFine_trainvaltest.zip"}
SAMPLE = 20  # labels per split whose pixels the fast check reads unless told otherwise


def cityscapes_root(path) -> Path:
    """The folder with leftImg8bit/ and gtFine/: ``path`` itself or ``path/cityscapes``."""
    return find_root(Path(path), "cityscapes", FOLDERS)


def check_cityscapes(
    path,
    report: Report,
    splits: Sequence[str] = SPLITS,
    counts: Mapping[str, int | None] | None = None,
    any_size: bool = False,
    num_classes: int = NUM_CLASSES,
    fast: bool = False,
    sample: int = SAMPLE,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Check a dataset in Cityscapes' layout; what is found goes to ``report``.

    The splits test and train_extra and the coarse labels are not looked at.

    Args:
        path: the folder with leftImg8bit/ and gtFine/, or the one above it, with cityscapes/ in it.
        splits: "train", "val" or both.
        counts: split -> number of images that it must have, for datasets that are neither Cityscapes nor the mini one.
        any_size: check no number of images.
        num_classes: labels are 0 to num_classes - 1, and 255. Other than 19: the labels are not compared with labelIds.
        fast: read headers and the ends of files, and the pixels of ``sample`` labels per split.
        sample: number of labels, evenly spaced over the split. 0: all.
        workers: processes. Default: one per core, at most 16.
    """
    path, root = Path(path), cityscapes_root(path)
    if not any((root / folder).is_dir() for folder in FOLDERS):
        report.add("layout", path, f"has none of the folders {', '.join(FOLDERS)}", look_below(root, FOLDERS))
        return
    if root != path:
        report.note(f"checking {root}")
    given = {split: (counts or {}).get(split) for split in COUNTS}
    expected, source = expected_counts(root, COUNTS, given, any_size, report)
    for split in splits:
        if not _folders(root, split, report):
            continue
        files = list_split(root, split)
        if not _filled(root, split, files, report):
            continue
        stems = check_names(root, split, files, report)
        # A missing image or label has its own line; the number is of all that are known.
        known = len(files.images | files.labelled()) if files.images and files.labelled() else len(files.images)
        check_count(report, root / IMAGES / split, split, known, expected[split], source)
        report.note(f"{split}: {len(files.images):,} images, {len(stems):,} of them with labelTrainIds")
        step = max(1, len(stems) // sample) if fast and sample else 1
        tasks = [
            _task(root, split, stem, files, num_classes, index % step == 0, not fast)
            for index, stem in enumerate(stems)
        ]
        for faults in over_files(check_pair, tasks, workers or default_workers(), f"{split} images", progress):
            for kind, file, message, remedy in faults:
                report.add(kind, file, message, remedy)


def _task(root, split, stem, files, num_classes, pixels, decode):
    image, label = root / IMAGES / split / stem, root / LABELS / split / stem
    label_ids = f"{label}{LABEL_IDS}" if stem in files.labels[LABEL_IDS] else ""
    remake = REMAKE if stem in files.labels[POLYGONS] else FETCH_LABEL
    return PairTask(f"{image}{IMAGE_SUFFIX}", f"{label}{TRAIN_IDS}", label_ids, num_classes, pixels, remake, decode)


def _folders(root: Path, split: str, report: Report) -> bool:
    other = SPLITS[1 - SPLITS.index(split)]
    missing = [folder for folder in FOLDERS if not (root / folder / split).is_dir()]
    for folder in missing:
        report.add("layout", root / folder / split, f"the folder {folder}/{split} is not there",
                   f"unpack {ZIPS[folder]}; without {split}, give --split {other}")
    return not missing


def _filled(root: Path, split: str, files, report: Report) -> bool:
    """False if the split has no image or no label at all; that is reported once, not for each file that is missing."""
    for folder, names in ((IMAGES, files.images or files.misnamed_images),
                          (LABELS, files.labelled() or files.misnamed_labels)):
        if not names:
            report.add("empty-folder", root / folder / split, f"holds no {'images' if folder == IMAGES else 'labels'} "
                       f"of {split}", f"unpack {ZIPS[folder]}")
            return False
    for folder in files.empty_folders:
        report.add("empty-folder", root / folder, "the folder is empty",
                   f"unpack {ZIPS[Path(folder).parts[0]]} again, or remove the folder")
    return True
