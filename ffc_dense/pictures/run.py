"""The loop of the tools that draw: every file is drawn, or reported and left out."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..errors import CannotWrite
from .files import Job
from .reading import UnreadableError, read_bgr
from .video import draw_video
from .writing import write_result


def for_each(jobs: Sequence[Job], work: Callable[[Job], None]) -> int:
    """Do ``work`` for every job; a progress bar on stderr shows where it is.

    Args:
        work: it may raise :class:`UnreadableError` for a file that cannot be used, which is skipped then.

    Returns:
        How many files were skipped. Each of them has a line on stderr.
    """
    skipped = 0
    for job in tqdm(jobs, unit="file", disable=len(jobs) == 1):
        try:
            work(job)
        except UnreadableError as error:
            skipped += 1
            tqdm.write(f"skipped {job.source}: {error}", file=sys.stderr)
    return skipped


def run(
    jobs: Sequence[Job],
    draw: Callable[[np.ndarray], np.ndarray],
    written: Callable[[Path], None] | None = None,
) -> int:
    """Draw every job, see :func:`for_each`.

    Args:
        draw: from an image (H, W, 3), uint8 BGR, to its picture, of the same kind. It may raise
            :class:`UnreadableError` for an image that cannot be used.
        written: called with the path of each image's picture once it is there, for what else belongs beside it.

    Returns:
        The exit code: 0, or 1 if a file was skipped.

    Raises:
        CannotWrite: a result cannot be written.
    """

    def work(job: Job) -> None:
        if job.video:
            draw_video(job.source, job.target, draw)
        else:
            _write_picture(job.target, draw(read_bgr(str(job.source))))
            if written is not None:
                written(job.target)

    skipped = for_each(jobs, work)
    print(f"{len(jobs) - skipped} of {len(jobs)} files drawn", end="")
    print(f", {skipped} skipped" if skipped else "")
    return 1 if skipped else 0


def _write_picture(path: Path, picture: np.ndarray) -> None:
    encoded, content = cv2.imencode(path.suffix.lower(), picture)
    if not encoded:
        height, width = picture.shape[:2]
        raise CannotWrite(f"--output: {path}: OpenCV cannot encode a picture of {width}x{height} as {path.suffix}")
    write_result(content.tobytes(), path)
