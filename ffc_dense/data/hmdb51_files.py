"""HMDB51's layout: videos, split files, and frames with optical flow as the MARS code stores them.

::

    videos/CLASS/NAME.avi
    testTrainMulti_7030_splits/CLASS_test_split{1,2,3}.txt     lines "NAME.avi 0|1|2": unused, training, test
    frames/CLASS/NAME/%05d.jpg, TVL1jpg_{x,y}_%05d.jpg         from 1; one flow less than frames
"""

import re
from dataclasses import dataclass
from pathlib import Path

SPLITS_FOLDER, VIDEOS_FOLDER, FRAMES_FOLDER = "testTrainMulti_7030_splits", "videos", "frames"
SPLIT_FILE = re.compile(r"(.+)_test_split([123])\.txt")
SUBSETS = {"unused": 0, "train": 1, "test": 2}  # and their codes in the split files
DONE = "done"  # a file in a folder of frames that is complete, as MARS writes it
FRAME, FLOW = "{:05d}.jpg", "TVL1jpg_{axis}_{:05d}.jpg"


@dataclass(frozen=True)
class Video:
    """A line of a split file. label: place of its class among the sorted names."""

    class_name: str
    name: str  # with .avi
    label: int
    subset: str

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    def path(self, root: Path) -> Path:
        return root / VIDEOS_FOLDER / self.class_name / self.name

    def frames(self, root: Path) -> Path:
        """The folder of its frames."""
        return root / FRAMES_FOLDER / self.class_name / self.stem


def read_split(root: Path | str, split: int) -> tuple[list[str], list[Video]]:
    """The classes, sorted, and every video of a split.

    Args:
        root: the folder that holds ``testTrainMulti_7030_splits``.
        split: 1, 2 or 3.

    Raises:
        ValueError: ``split`` has another value, there are no files of it, or a line is not as described; the message
            names file and line.
    """
    if split not in (1, 2, 3):
        raise ValueError(f"split: expected 1, 2 or 3, got {split!r}")
    folder = Path(root) / SPLITS_FOLDER
    found = {match[1]: path for path in folder.glob("*.txt") if (match := SPLIT_FILE.fullmatch(path.name))
             and int(match[2]) == split}  # fmt: skip
    if not found:
        raise ValueError(f"{folder}: expected files CLASS_test_split{split}.txt there, found none; unpack HMDB51's "
                         "test_train_splits.rar there")  # fmt: skip
    classes = sorted(found)
    return classes, [video for label, name in enumerate(classes) for video in _videos(found[name], name, label)]


def _videos(path: Path, class_name: str, label: int) -> list[Video]:
    codes = {str(code): subset for subset, code in SUBSETS.items()}
    videos: dict[str, Video] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        name, _, code = line.strip().rpartition(" ")
        if code not in codes or not name.strip().endswith(".avi"):
            raise ValueError(f"{path}, line {number}: expected 'NAME.avi 0|1|2', got {line.strip()!r}")
        if name.strip() in videos:
            raise ValueError(f"{path}, line {number}: {name.strip()} is listed for the second time; remove one line")
        videos[name.strip()] = Video(class_name, name.strip(), label, codes[code])
    return list(videos.values())


def flow_files(folder: Path, number: int) -> tuple[Path, Path]:
    """The x and y flow from frame ``number`` (from 1) to the next one."""
    return folder / FLOW.format(number, axis="x"), folder / FLOW.format(number, axis="y")
