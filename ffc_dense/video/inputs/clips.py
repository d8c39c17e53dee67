"""Reading clips. Shape shorthand: V clips of a video, T frames, (H, W) pixels, C channels (RGB, then flow x and y)."""

from pathlib import Path

import cv2
import numpy as np

from ...data.hmdb51_files import DONE, FRAME, flow_files

MODALITIES = {"RGB": None, "flow": 0, "RGB+flow": 3}  # and the channel of x flow
FRAMES, FLOWS = "[0-9]*.jpg", "TVL1jpg_x_*.jpg"


def clip_starts(frames: int, length: int) -> list[int]:
    """The first frames of all clips of a test video: they do not overlap, the rest is dropped, one clip at least."""
    return [clip * length for clip in range(max(1, frames // length))]


def clip_frames(start: int, length: int, frames: int) -> np.ndarray:
    """(length,) frame numbers from ``start``; a video that is too short is looped."""
    return (start + np.arange(length)) % frames


def count_frames(video: Path, frames: Path, modality: str) -> int:
    """How many frames clips can be taken from. With flow, those that have one to their next frame.

    Raises:
        FileNotFoundError: the folder that is needed is not there, or holds nothing; the message says what to do.
    """
    complete = (frames / DONE).is_file()
    if "flow" in modality:
        count = sum(1 for _ in frames.glob(FLOWS))
        if not count or not complete:
            said = f"no flow ({FLOWS}) is there" if not count else f"its flow is not complete: there is no file {DONE}"
            raise FileNotFoundError(f"{frames}: {said}; make it with: ffc-dense extract-flow")
        return count
    if complete and (count := sum(1 for _ in frames.glob(FRAMES))):
        return count
    if not video.is_file():
        raise FileNotFoundError(f"{video}: there is no such video, and no complete folder {frames} of its frames")
    return len(decode(video))


def read_frames(video: Path, frames: Path, modality: str, numbers: np.ndarray) -> np.ndarray:
    """The frames of these numbers (from 0), (len(numbers), H, W, C) uint8. Frames on disk are preferred to the video.

    Raises:
        ValueError: a file cannot be decoded, or has another size than the others.
    """
    wanted = sorted(set(numbers.tolist()))
    parts = []
    if "RGB" in modality:
        if (frames / DONE).is_file() and (frames / FRAME.format(1)).is_file():
            images = {i: _image(frames / FRAME.format(i + 1), cv2.IMREAD_COLOR_RGB) for i in wanted}
        else:
            decoded = decode(video)
            images = {i: decoded[i] for i in wanted}
        parts.append(images)
    if "flow" in modality:
        parts.append({i: np.stack([_image(path, cv2.IMREAD_GRAYSCALE) for path in flow_files(frames, i + 1)], -1)
                      for i in wanted})  # fmt: skip
    try:
        return np.stack([np.concatenate([part[i] for part in parts], -1) for i in numbers.tolist()])
    except ValueError as error:
        raise ValueError(f"{frames}: its frames have different sizes; extract them again") from error


def decode(video: Path) -> np.ndarray:
    """All frames of a video file, (frames, H, W, 3) uint8 RGB.

    Raises:
        ValueError: it holds none that can be decoded.
    """
    capture = cv2.VideoCapture(str(video))
    images = []
    try:
        while True:
            good, image = capture.read()
            if not good:
                break
            images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    finally:
        capture.release()
    if not images:
        raise ValueError(f"{video}: no frame can be decoded; replace the file")
    return np.stack(images)


def _image(path: Path, mode: int) -> np.ndarray:
    image = cv2.imread(str(path), mode)
    if image is None:
        raise ValueError(f"{path}: cannot be read as an image; extract it again")
    return image
