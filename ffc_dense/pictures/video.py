"""Videos frame by frame, through OpenCV. Frames are (H, W, 3) uint8, BGR."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..errors import CannotWrite
from .reading import UnreadableError
from .writing import writing

DEFAULT_FPS = 25.0  # of files that do not say


def draw_video(source: Path, target: Path, draw: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write ``target``, an .mp4, with ``draw(frame)`` for every frame of ``source``, at the same rate, without sound.

    Raises:
        UnreadableError: ``source`` cannot be decoded, or ends long before the length that its header says; nothing is
            written then.
        CannotWrite: ``target`` cannot be written.
    """
    reader = cv2.VideoCapture(str(source))
    partial = target.with_name(f"{target.stem}.partial.mp4")
    try:
        if not reader.isOpened():
            raise UnreadableError("OpenCV cannot open it as a video")
        expected = max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT)))
        rate = reader.get(cv2.CAP_PROP_FPS)
        drawn = map(draw, tqdm(_frames(reader), source.name, expected or None, leave=False, unit="frame"))
        written = _write(partial, drawn, rate if 0 < rate < 1000 else DEFAULT_FPS)
        if written < 0.9 * expected or written == 0:  # the count is an estimate in some formats
            raise UnreadableError(f"{written} of {expected} frames could be read")
        with writing(target):
            partial.replace(target)
    finally:
        reader.release()
        partial.unlink(missing_ok=True)


def _frames(reader: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        read, frame = reader.read()
        if not read:
            return
        yield frame


def _write(path: Path, frames: Iterator[np.ndarray], rate: float) -> int:
    """The number of frames written."""
    writer, count = None, 0
    try:
        for frame in frames:
            if writer is None:
                height, width = (side // 2 * 2 for side in frame.shape[:2])  # most players require even sides
                with writing(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (width, height))
                if not writer.isOpened():
                    raise CannotWrite(f"--output: OpenCV cannot write {path} (MPEG-4): is the folder writable?")
            # OpenCV drops frames of another size without a word; lines of text may differ by a pixel.
            missing = [(0, max(0, size - side)) for size, side in zip((height, width), frame.shape[:2], strict=True)]
            frame = np.pad(frame[:height, :width], (*missing, (0, 0)), constant_values=255)
            writer.write(np.ascontiguousarray(frame))
            count += 1
    finally:
        if writer is not None:
            writer.release()
    return count
