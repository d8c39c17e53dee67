"""Checks that fit before every training: seconds on COCO and Cityscapes, where a full check takes many minutes.

They read the annotation files, and of every image and label the header and the end, which shows what is missing, of
another size, or truncated. Values of labels are read in a sample. What is damaged in the middle of a file is left to
``tools/check_dataset.py``.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from .cityscapes import check_cityscapes
from .coco import check_image_files
from .coco_json import mapping_text, read_instances
from .parallel import default_workers
from .report import ERROR, Report

MODES = ("error", "warn", "off")  # what a fault does: stop the training, be told, or not be looked for
SHOWN = 5  # faults in the message
LABELS = 100  # per split of Cityscapes whose pixels are read


def check_mode(mode: str, key: str) -> str:
    """``mode``, if it is one of MODES.

    Raises:
        UserError: it is not; the message names ``key``.
    """
    if mode not in MODES:
        raise UserError(f"{key}: expected one of {', '.join(MODES)}, got {mode!r}")
    return mode


def quick_coco(json_file: str, images: str, split: str, report: Report, num_classes: int | None, key: str) -> None:
    """Check one annotation file and its images.

    Args:
        split: "train"; "val"; or "test", which may have no annotations.
        num_classes: the model's. None: any.
        key: the config key that says it, for the message.
    """
    path = Path(json_file)
    if not path.is_file():
        report.add("layout", path, f"the annotation file of {split} is not there",
                   "unpack the annotations there, or correct the path; docs/how-to/datasets.md shows the layout")
        return
    instances = read_instances(path, split, report)
    if instances is None:
        return
    classes = len(instances.categories)
    if num_classes is not None and classes and num_classes != classes:
        mapping = mapping_text(list(instances.categories))
        report.add("num-classes", path, f"the file has {classes} categories (as classes {mapping}), but {key} is "
                   f"{num_classes}", f"set {key} to {classes}")
    check_image_files(path, Path(images), split, instances, report, True, default_workers())


def quick_cityscapes(root: str, split: str, report: Report, num_classes: int, labels: int = LABELS) -> None:
    """Check one split in Cityscapes' layout. labels: number of files whose pixels are read; 0 reads all."""
    check_cityscapes(root, report, [split], any_size=True, num_classes=num_classes, fast=True, sample=labels)


def checked(name: str, check: Callable[[Report], None], say: Callable[[str], None]) -> str:
    """Run a check and say how it ended and how long it took. Returns what is wrong, '' if nothing is."""
    report = Report(max_lines=3)
    began = time.monotonic()
    check(report)
    told: Counter[str] = Counter()
    for fault in report.faults:
        told[fault.kind] += 1
        if fault.severity != ERROR and told[fault.kind] <= report.max_lines:
            say(f"dataset check: {fault}")
    say(f"dataset check: {name}: {report.summary()} ({time.monotonic() - began:.1f} s)")
    faults = [str(fault).removeprefix(f"{ERROR}: ") for fault in report.faults if fault.severity == ERROR]
    if not faults:
        return ""
    lines = [f"{name}: {report.summary()}", *(f"  {fault}" for fault in faults[:SHOWN])]
    if len(faults) > SHOWN:
        lines.append(f"  and {report.errors - SHOWN:,} more")
    return "\n".join(lines)
