"""The check of a dataset in HMDB51's layout: split files, videos, and the frames and flow that were extracted."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from .hmdb51_files import DONE, FRAMES_FOLDER, SPLITS_FOLDER, VIDEOS_FOLDER, Video, read_split
from .layout import check_count, expected_counts, find_root, look_below
from .parallel import default_workers, over_files
from .report import Report

COUNTS = {"train": 3_570, "val": 1_530}
SUBSETS = {"train": "train", "val": "test"}  # our names and HMDB51's
FOLDERS = (VIDEOS_FOLDER, SPLITS_FOLDER)


def check_hmdb51(
    path,
    report: Report,
    counts: Mapping[str, int | None] | None = None,
    any_size: bool = False,
    fast: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Check a dataset in HMDB51's layout (:mod:`ffc_dense.data.hmdb51_files`); what is found goes to ``report``.

    Args:
        path: the folder with videos/ and testTrainMulti_7030_splits/, or the one above it, with hmdb51/ in it.
        counts: videos of 'train' and 'val' (HMDB51's test) per split, where they are not the official ones.
        any_size: check no number.
        fast: decode the first frame of each video only.
        workers: processes; default: one per core, at most 16.
        progress: show it on stderr.
    """
    root = find_root(Path(path), "hmdb51", FOLDERS)
    if not (root / SPLITS_FOLDER).is_dir():
        report.add("layout", root / SPLITS_FOLDER, "the folder of split files is not there",
                   look_below(root, FOLDERS))  # fmt: skip
        return
    expected, source = expected_counts(root, COUNTS, dict(counts or {}), any_size, report)
    videos: dict[tuple[str, str], Video] = {}
    classes: dict[int, list[str]] = {}
    for split in (1, 2, 3):
        try:
            classes[split], listed = read_split(root, split)
        except ValueError as error:
            report.add("split-file", root / SPLITS_FOLDER, str(error), "unpack test_train_splits.rar there again")
            continue
        for ours, theirs in SUBSETS.items():
            found = sum(video.subset == theirs for video in listed)
            check_count(report, root / SPLITS_FOLDER, f"{ours} of split {split}", found, expected[ours], source,
                        "videos")  # fmt: skip
        videos |= {(video.class_name, video.name): video for video in listed}
    if len({tuple(each) for each in classes.values()}) > 1:
        report.add("split-file", root / SPLITS_FOLDER, "the splits have different classes",
                   "unpack test_train_splits.rar there again")  # fmt: skip
    _check_unlisted(root, set(videos), report)
    work = partial(video_faults, root=root, fast=fast)
    for faults in over_files(work, list(videos.values()), workers or default_workers(), "videos", progress):
        for fault in faults:
            report.add(*fault)


def _check_unlisted(root: Path, listed: set[tuple[str, str]], report: Report) -> None:
    for path in sorted((root / VIDEOS_FOLDER).glob("*/*.avi")):
        if (path.parent.name, path.name) not in listed:
            report.add("unlisted-video", path, "no split file names it", "remove it, or add it to the split files")


def video_faults(video: Video, root: Path, fast: bool, opens: bool = True) -> list[tuple[str, Path, str, str]]:
    """(kind, path, message, remedy) of a video and of its frames. ``opens``: whether the file is looked into at all."""
    import cv2

    found: list[tuple[str, Path, str, str]] = []
    path, frames = video.path(root), video.frames(root)
    extracted = (frames / DONE).is_file()
    if path.is_file() and opens:
        capture = cv2.VideoCapture(str(path))
        told = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        count = int(capture.grab())
        while count and not fast and capture.grab():
            count += 1
        capture.release()
        if not count:
            found.append(("unreadable", path, "no frame can be decoded", "fetch the file again"))
        elif not fast and count < told:
            found.append(("unreadable", path, f"ends after {count} of {told} frames", "fetch the file again"))
    elif not path.is_file() and not extracted:
        found.append(("missing-video", path, "a split file names it, and neither video nor frames are there",
                      "unpack its class's archive there"))  # fmt: skip
    if (root / FRAMES_FOLDER).is_dir() and not extracted:
        found.append(("flow", frames, "its frames and flow are not complete", "run: ffc-dense extract-flow"))
    elif extracted:
        images = sum(1 for _ in frames.glob("[0-9]*.jpg"))
        flows = [sum(1 for _ in frames.glob(f"TVL1jpg_{axis}_*.jpg")) for axis in "xy"]
        if flows != [images - 1, images - 1]:
            found.append(("flow", frames, f"{images} frames have {flows[0]} flows in x and {flows[1]} in y, expected "
                          f"{images - 1}", f"remove {DONE} there and run: ffc-dense extract-flow"))  # fmt: skip
    return found
