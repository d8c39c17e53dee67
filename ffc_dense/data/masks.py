"""The check of images and label masks of any layout, as pairs of files. K: number of classes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .cityscapes_labels import IGNORED, PairTask, check_pair
from .parallel import default_workers, over_files
from .report import Report

SIZED = (".png", ".jpg", ".jpeg", ".bmp")  # Pillow reads every file of these; the framework may know others
REMEDY = "correct the mask, or the names of the classes"


def check_masks(
    pairs: Sequence[tuple[str, str]], num_classes: int, read: Callable[[int], np.ndarray] | None, sample: int, report: Report
) -> None:
    """Check that every image has a mask of its size, and the values of evenly spaced masks.

    Args:
        pairs: files of an image and its mask.
        num_classes: K; valid are 0 to K-1 (of a single class 0 and 1) and 255.
        read: from an index of ``pairs`` to the mask as the framework reads it, (H, W), its values mapped to classes. None:
            no values are checked.
        sample: masks that are read; 0: all.
    """
    there = []
    for index, (image, mask) in enumerate(pairs):
        for path, kind, what in ((image, "missing-image", "the image"), (mask, "missing-label", "the image's mask")):
            if not Path(path).is_file():
                report.add(kind, path, f"{what} is not there", "copy the file again, or remove its partner")
                break
        else:
            there.append(index)
    sized = [pairs[i] for i in there if all(path.lower().endswith(SIZED) for path in pairs[i])]
    tasks = [PairTask(image, mask, "", num_classes, False, REMEDY, False) for image, mask in sized]
    damaged = set()
    for task, faults in zip(tasks, over_files(check_pair, tasks, default_workers(), "images"), strict=True):
        for fault in faults:
            report.add(*fault)
            damaged.add(task.label)
    step = max(1, len(there) // sample) if sample else 1
    chosen = [index for index in there[::step] if pairs[index][1] not in damaged]
    if read is not None:
        _check_values([(pairs[index][1], index) for index in chosen], max(2, num_classes), read, report)


def _check_values(masks: list[tuple[str, int]], num_classes: int, read: Callable, report: Report) -> None:
    seen: set[int] = set()
    for path, index in masks:
        try:
            mask = read(index)
        except Exception as error:  # whatever the framework's decoders raise
            report.add("unreadable", path, f"the mask cannot be read ({error})", "copy the file again")
            continue
        if mask.ndim != 2:
            report.add("label-mode", path, f"the mask has the shape {mask.shape}, as a colour image; expected one number "
                       "per pixel", "write class numbers in the place of colours")  # fmt: skip
            continue
        values, counts = np.unique(mask, return_counts=True)
        wrong = [(int(v), int(n)) for v, n in zip(values, counts, strict=True)
                 if not 0 <= v < num_classes and v != IGNORED]  # fmt: skip
        if wrong:
            shown = ", ".join(f"{value} in {count:,} pixels" for value, count in wrong[:5])
            more = ", ..." if len(wrong) > 5 else ""
            report.add("label-range", path, f"wrong values: {shown}{more}; expected 0 to {num_classes - 1}, or {IGNORED} "
                       "for pixels to ignore", f"{REMEDY}; write what has no class as {IGNORED}")  # fmt: skip
        seen |= set(values.tolist())
    if IGNORED in seen and len(seen) == 2:
        report.add("label-one-class", Path(masks[0][0]).parent, f"all {len(masks)} masks that were read hold class "
                   f"{min(seen)} and {IGNORED} alone, and {IGNORED} is ignored",
                   f"write 1 in the place of {IGNORED} if it is a class")  # fmt: skip
