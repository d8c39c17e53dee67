"""Faults of a dataset: their kinds, how they are counted and how they are told."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

ERROR, WARNING = "error", "warning"
KEPT_PER_KIND = 1000  # faults held in memory; all are counted

# kind: severity, what it means. docs/how-to/datasets.md lists the same.
KINDS = {
    "layout": (ERROR, "a folder or file of the layout is not there"),
    "incomplete": (ERROR, "the generation of the mini dataset was interrupted"),
    "empty-folder": (ERROR, "a folder that should hold images or labels holds none"),
    "count": (ERROR, "the split has another number of images than it should have"),
    "unreadable": (ERROR, "an image or label cannot be decoded: truncated, damaged, not an image, no permission"),
    # COCO
    "json": (ERROR, "the annotation file is no JSON, or its lists are missing"),
    "record": (ERROR, "an image, annotation or category lacks a key or has a value of a wrong type"),
    "no-annotations": (ERROR, "the annotation list is empty (of val: a warning)"),
    "duplicate-id": (ERROR, "two images, annotations or categories of one file have the same id"),
    "duplicate-file": (WARNING, "two image ids name the same file"),
    "missing-image": (ERROR, "an image that the annotations or labels are for is not there"),
    "unlisted-image": (WARNING, "images lie in the folder that the annotation file does not list"),
    "image-size": (ERROR, "the image has another size than the annotation file says"),
    "category": (ERROR, "an annotation's category is not in the list of categories"),
    "category-mismatch": (ERROR, "train and val have different categories"),
    "num-classes": (ERROR, "the dataset has another number of categories or class folders than it should have"),
    "orphan-annotation": (ERROR, "an annotation's image is not in the list of images"),
    "ignore-flag": (ERROR, "an annotation has a non-zero 'ignore', which detectron2 refuses"),
    "box": (ERROR, "a box is not four finite numbers, or has a negative width or height"),
    "box-outside": (ERROR, "a box leaves the image by more than one pixel"),
    "box-empty": (WARNING, "a box has no area: detectron2 drops it"),
    "polygon": (WARNING, "no polygon of an annotation has three points: detectron2 drops the annotation"),
    "annotation-zero": (WARNING, "an annotation of val has the id 0, which pycocotools scores as not matched"),
    # ImageNet
    "class-order": (WARNING, "class folders named by numbers are sorted as text, so that labels do not follow the numbers"),
    "not-image": (WARNING, "a file among the images that is not read"),
    # Cityscapes
    "wrong-suffix": (ERROR, "a file's name does not end as mmseg expects, so mmseg does not see it"),
    "missing-label": (ERROR, "an image has no label at all"),
    "missing-train-ids": (ERROR, "an image has labels, but no labelTrainIds"),
    "missing-label-ids": (WARNING, "an image of val has no labelIds, which cityscapesscripts' evaluation reads"),
    "label-mode": (ERROR, "a label image has colours instead of one number per pixel"),
    "label-size": (ERROR, "a label has another size than its image"),
    "label-ids": (ERROR, "a labelTrainIds file holds labelIds"),
    "label-negative": (ERROR, "a label holds negative values"),
    "label-range": (ERROR, "a label holds values that are neither a class (0 to K-1) nor 255"),
    "label-one-class": (WARNING, "the labels that were read hold one class and 255: 255 may have been meant as a class"),
    "label-mismatch": (WARNING, "labelTrainIds and labelIds of an image do not agree"),
    "polygons": (ERROR, "labelTrainIds could not be made from a polygons file"),
    # HMDB51
    "split-file": (ERROR, "a split file is not there, cannot be read, or the splits have different classes"),
    "missing-video": (ERROR, "a split file names a video that is not there"),
    "unlisted-video": (WARNING, "no split file names a video"),
    "flow": (ERROR, "a video's extracted frames are not complete, or have not one flow less than frames"),
}


def one_line(text: str) -> str:
    """The text in one line that can be printed, whatever a file is named or a decoder says."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Fault:
    """One fault: its kind (a key of KINDS), the file or folder, what is wrong, and what to do about it."""

    kind: str
    path: str
    message: str
    remedy: str
    severity: str = ""

    def __str__(self) -> str:
        return one_line(f"{self.severity}: {self.path}: {self.message}: {self.remedy} [{self.kind}]")


class Report:
    """Collects faults and notes.

    Args:
        max_lines: faults of one kind that are shown; later ones are counted. 0 shows all.
        as_warnings: kinds of errors that count as warnings.
        show: called with each line as soon as it is known.
    """

    def __init__(self, max_lines: int = 10, as_warnings: Iterable[str] = (), show: Callable[[str], None] | None = None):
        self.max_lines, self.as_warnings, self.show = max_lines, frozenset(as_warnings), show or (lambda line: None)
        unknown = self.as_warnings - KINDS.keys()
        if unknown:
            raise ValueError(f"as_warnings: no kind of fault is named {sorted(unknown)}; there are {', '.join(KINDS)}")
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()  # (severity, kind)

    def add(self, kind: str, path, message: str, remedy: str, severity: str = "") -> None:
        severity = severity or KINDS[kind][0]
        if kind in self.as_warnings:
            severity = WARNING
        self.counts[severity, kind] += 1
        count = self.counts[severity, kind]
        if count <= max(KEPT_PER_KIND, self.max_lines) or self.max_lines == 0:
            fault = Fault(kind, str(path), message, remedy, severity)
            self.faults.append(fault)
            if count <= self.max_lines or self.max_lines == 0:
                self.show(str(fault))

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.show(one_line(f"note: {text}"))

    def has(self, kind: str) -> bool:
        return any(found == kind for _, found in self.counts)

    def _number(self, severity: str) -> int:
        return sum(count for (found, _), count in self.counts.items() if found == severity)

    @property
    def errors(self) -> int:
        return self._number(ERROR)

    @property
    def warnings(self) -> int:
        return self._number(WARNING)

    def further(self) -> list[str]:
        """One line per kind of which not all faults were shown."""
        if self.max_lines == 0:
            return []
        return [
            f"{severity}: {count - self.max_lines:,} further of this kind [{kind}]"
            for (severity, kind), count in self.counts.items() if count > self.max_lines
        ]

    def totals(self) -> str:
        numbers = ((self.errors, ERROR), (self.warnings, WARNING))
        text = ", ".join(f"{number:,} {severity}{'' if number == 1 else 's'}" for number, severity in numbers)
        kinds = ", ".join(f"{kind} {count:,}" for (_, kind), count in self.counts.items())
        return text + (f" ({kinds})" if kinds else "")

    def summary(self) -> str:
        return f"{'faulty' if self.errors else 'ok'}: {self.totals()}"

    def as_dict(self) -> dict:
        """For JSON. ``counts`` are complete, ``faults`` holds at most the first 1000 of a kind."""
        counts = [
            {"kind": kind, "severity": severity, "count": count} for (severity, kind), count in self.counts.items()
        ]
        return {
            "ok": self.errors == 0, "errors": self.errors, "warnings": self.warnings, "counts": counts,
            "faults": [asdict(fault) for fault in self.faults], "notes": self.notes,
        }
