"""The loop of the demo tools: every file is drawn, or reported and left out."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..data.images import UnreadableError, read_bgr
from ..errors import CannotWrite
from .files import Job
from .video import draw_video
from .writing import write_result


def run(
    jobs: Sequence[Job],
    draw: Callable[[np.ndarray], np.ndarray],
    written: Callable[[Path], None] | None = None,
) -> int:
    """Draw every job; a progress bar on stderr shows where it is.

    Args:
        draw: from an image (H, W, 3), uint8 BGR, to its picture, of the same kind. It may raise
            :class:`UnreadableError` for an image that cannot be used.
        written: called with the path of each image's picture once it is there, for what else belongs beside it.

    Returns:
        The exit code: 0, or 1 if a file was skipped. Each of those has a line on stderr.

    Raises:
        CannotWrite: a result cannot be written.
    """
    skipped = 0
    for job in tqdm(jobs, unit="file", disable=len(jobs) == 1):
        try:
            if job.video:
                draw_video(job.source, job.target, draw)
            else:
                _write_picture(job.target, draw(read_bgr(str(job.source))))
                if written is not None:
                    written(job.target)
        except UnreadableError as error:
            skipped += 1
            tqdm.write(f"skipped {job.source}: {error}", file=sys.stderr)
    print(f"{len(jobs) - skipped} of {len(jobs)} files drawn", end="")
    print(f", {skipped} skipped" if skipped else "")
    return 1 if skipped else 0


def _write_picture(path: Path, picture: np.ndarray) -> None:
    encoded, content = cv2.imencode(path.suffix.lower(), picture)
    if not encoded:
        height, width = picture.shape[:2]
        raise CannotWrite(f"--output: {path}: OpenCV cannot encode a picture of {width}x{height} as {path.suffix}")
    write_result(content.tobytes(), path)
