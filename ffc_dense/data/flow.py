"""TV-L1 optical flow of HMDB51's videos, stored as the MARS code stores it (:mod:`ffc_dense.data.hmdb51_files`).

Flow in pixels is cut to -20 ... 20 and written as (flow + 20) / 40 * 255, rounded, in JPEG files of x and y.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from .hmdb51_files import DONE, FRAME, Video, flow_files
from ..reliability.saving import write_text_atomically
from .parallel import over_files

LARGEST = 20.0  # pixels
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]


def tvl1(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The flow between two grey images (H, W) uint8: (H, W, 2) fp32, x and y in pixels.

    By OpenCV where its contrib modules are installed, otherwise by scikit-image.
    """
    if hasattr(cv2, "optflow"):
        return cv2.optflow.createOptFlow_DualTVL1().calc(before, after, None)
    from skimage.registration import optical_flow_tvl1

    y, x = optical_flow_tvl1(before / np.float32(255), after / np.float32(255))  # rows first
    return np.stack([x, y], -1).astype(np.float32)


def as_image(flow: np.ndarray) -> np.ndarray:
    """Flow in pixels -> uint8; 0 becomes 128 (127.5, rounded to even)."""
    return np.round((np.clip(flow, -LARGEST, LARGEST) + LARGEST) / (2 * LARGEST) * 255).astype(np.uint8)


def scaled(frame: np.ndarray, short_side: int) -> np.ndarray:
    """A frame (H, W, 3) with a short side of so many pixels, if it has another one; 0 leaves it."""
    height, width = frame.shape[:2]
    if short_side in (0, min(height, width)):
        return frame
    scale = short_side / min(height, width)
    size = [short_side if side == min(height, width) else round(side * scale) for side in (width, height)]
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def extract(video: Video, root: Path, short_side: int) -> str:
    """Write frames and flow of a video; one that is complete is left. Returns what is wrong, '' if nothing is."""
    folder = video.frames(root)
    if is_done(folder, short_side):
        return ""
    for pattern in (DONE, "*.jpg"):  # of an interrupted extraction, or one of another size
        for path in folder.glob(pattern):
            path.unlink()
    cv2.setNumThreads(1)  # a process a core
    capture = cv2.VideoCapture(str(video.path(root)))
    folder.mkdir(parents=True, exist_ok=True)
    before, number = None, 0
    try:
        while (read := capture.read())[0]:
            number += 1
            frame = scaled(read[1], short_side)
            _save(folder / FRAME.format(number), frame)
            grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            if before is not None:
                flow = as_image(tvl1(before, grey))
                for axis, path in enumerate(flow_files(folder, number - 1)):
                    _save(path, flow[..., axis])
            before = grey
    except OSError as error:
        return str(error)
    finally:
        capture.release()
    if number < 2:
        return f"{video.path(root)}: {number} frames can be decoded, flow needs two; replace the file"
    write_text_atomically(f"{short_side}\n", folder / DONE)
    return ""


def is_done(folder: Path, short_side: int) -> bool:
    """Whether a video's frames and flow are complete, with this short side. MARS's own ``done`` does not tell it."""
    done = folder / DONE
    return done.is_file() and done.read_text().strip() in ("", str(short_side))


def _save(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image, QUALITY):
        raise OSError(f"{path} cannot be written; make room or a writable folder, then run the command again")


def seconds_of_one(video: Video, root: Path, short_side: int) -> float:
    """How long :func:`extract` takes for a video, by the first pair of its frames. 0.0 if it cannot be decoded."""
    capture = cv2.VideoCapture(str(video.path(root)))
    frames = [scaled(frame, short_side) for good, frame in (capture.read(), capture.read()) if good]
    count = max(2, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    capture.release()
    if len(frames) < 2:
        return 0.0
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]
    begin = time.perf_counter()
    tvl1(*grey)
    return (time.perf_counter() - begin) * (count - 1)


def extract_all(
    videos: Sequence[Video], root: Path, short_side: int, workers: int, say: Callable[[str], None]
) -> list[str]:
    """Frames and flow of all videos in several processes. Returns what is wrong, a line for each video."""
    left = [video for video in videos if not is_done(video.frames(root), short_side)]
    say(f"{len(videos):,} videos, {len(videos) - len(left):,} done already")
    if not left:
        return []
    timed = [seconds_of_one(video, root, short_side) for video in left[:: max(1, len(left) // 5)][:5]]
    estimate = sum(timed) / len(timed) * len(left) / workers
    say(f"about {estimate / 3600:.1f} hours with {workers} processes (an estimate from {len(timed)} videos); "
        "interrupted and started again, it goes on")  # fmt: skip
    work = partial(extract, root=root, short_side=short_side)
    return [problem for problem in over_files(work, left, workers, "flow", progress=True) if problem]
