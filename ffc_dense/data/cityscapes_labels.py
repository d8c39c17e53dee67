"""The check of one image of Cityscapes and its label.

K: number of classes; a label holds 0 to K-1 and 255 (ignored).
"""

from dataclasses import dataclass

import numpy as np

from ..pictures.reading import UnreadableError, read_label, read_size

IGNORED = 255
NUM_CLASSES = 19
LAST_LABEL_ID = 33
# labelId -> trainId of Cityscapes; the ids that are not here are ignored in training.
TRAIN_ID = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
            28: 15, 31: 16, 32: 17, 33: 18}
FETCH_IMAGE = "copy the file again, or unpack leftImg8bit_trainvaltest.zip again"
REMAKE = "make it again: run this check with --make-train-ids --overwrite"
FETCH_LABEL = "copy the file again, or unpack gtFine_trainvaltest.zip again"


@dataclass(frozen=True)
class PairTask:
    """Files of one image. label_ids: '' if there is none.

    pixels: read the pixels of the labels, not the headers alone. decode: read those of the image too.
    """

    image: str
    label: str
    label_ids: str
    num_classes: int
    pixels: bool
    remake: str  # the remedy for a wrong label
    decode: bool = True


Faults = list[tuple[str, str, str, str]]  # kind, path, message, remedy


def check_pair(task: PairTask) -> Faults:
    """The faults of an image and its label."""
    faults: Faults = []
    try:
        image_size = read_size(task.image, task.decode)[:2]
    except UnreadableError as error:
        faults.append(("unreadable", task.image, str(error), FETCH_IMAGE))
        image_size = None
    try:
        label = read_label(task.label) if task.pixels else None
        label_size = read_size(task.label, False)[:2] if label is None else label.shape[1::-1]
    except UnreadableError as error:
        return [*faults, ("unreadable", task.label, str(error), task.remake)]
    if image_size is not None and label_size != image_size:
        faults.append(("label-size", task.label, f"the label has {label_size[0]} x {label_size[1]} pixels, its image "
                       f"{image_size[0]} x {image_size[1]}", "give both the same size: take the original files"))
    if label is None:
        return faults
    if label.ndim != 2:
        return [*faults, ("label-mode", task.label, f"the label has {label.shape[2]} channels, as a colour image; "
                          "expected one number per pixel", task.remake)]
    return faults + _values(task, label)


def _values(task: PairTask, label: np.ndarray) -> Faults:
    if label.dtype == np.uint8:
        counts = np.bincount(label.ravel(), minlength=256)
        values = counts.nonzero()[0]
        pixels = counts[values]
    else:
        values, pixels = np.unique(label, return_counts=True)
    wrong = [(int(value), int(count)) for value, count in zip(values, pixels, strict=True)
             if not 0 <= value < task.num_classes and value != IGNORED]
    ids, faults = None, []
    if task.label_ids and task.num_classes == NUM_CLASSES:
        try:
            ids = read_label(task.label_ids)
        except UnreadableError as error:
            faults.append(("unreadable", task.label_ids, str(error), FETCH_LABEL))
    same = ids is not None and np.array_equal(ids, label)
    if same or (wrong and ids is None and _look_like_label_ids(task, values)):
        shown = ", ".join(str(int(value)) for value in values[:12]) + (", ..." if len(values) > 12 else "")
        proof = "it equals the labelIds file" if same else f"its values are {shown}"
        return [*faults, ("label-ids", task.label, f"the file holds labelIds in place of labelTrainIds ({proof})",
                          task.remake)]
    if wrong:
        return [*faults, _wrong_values(task, label, wrong)]
    if ids is not None:
        faults += _mismatch(task, label, ids)
    return faults


def _look_like_label_ids(task: PairTask, values: np.ndarray) -> bool:
    """Without the labelIds to compare with: ids up to 33, of which 255 is none and 20 and above are no train ids."""
    return task.num_classes == NUM_CLASSES and values.min() >= 0 and NUM_CLASSES < values.max() <= LAST_LABEL_ID


def _wrong_values(task: PairTask, label: np.ndarray, wrong: list[tuple[int, int]]) -> tuple[str, str, str, str]:
    # An unsigned file shows a negative label as its largest number; in 8 bits, -1 cannot be distinguished from 255.
    largest = np.iinfo(label.dtype).max if label.dtype.kind == "u" and label.dtype.itemsize > 1 else None
    shown = []
    for value, count in wrong[:5]:
        meaning = ""
        if value == largest:
            meaning = f" (-1 in {label.dtype.itemsize * 8} bits)"
        elif value == task.num_classes:
            meaning = " (the number of classes; the last class is one less)"
        shown.append(f"{value}{meaning} in {count:,} pixels")
    text = ", ".join(shown) + (", ..." if len(wrong) > 5 else "")
    negative = wrong[0][0] < 0 or wrong[-1][0] == largest
    kind = "label-negative" if negative else "label-range"
    return (kind, task.label, f"{'negative' if negative else 'wrong'} values: {text}; expected 0 to "
            f"{task.num_classes - 1}, or {IGNORED} for pixels to ignore",
            f"{task.remake}; labels of your own: write what has no class as {IGNORED}")


def _mismatch(task: PairTask, label: np.ndarray, ids: np.ndarray) -> Faults:
    if ids.shape != label.shape or ids.dtype != np.uint8:
        return [("label-mismatch", task.label, f"the labelIds file has the shape {ids.shape} and type {ids.dtype}, the "
                 f"label {label.shape}; expected the same shape and 8 bits", FETCH_LABEL)]
    table = np.full(256, IGNORED, np.uint8)
    for label_id, train_id in TRAIN_ID.items():
        table[label_id] = train_id
    differing = int((table[ids] != label).sum())
    if not differing:
        return []
    return [("label-mismatch", task.label, f"{differing:,} pixels differ from the labelIds file by Cityscapes' table",
             f"keep it if you changed the labels on purpose; else {task.remake}")]
