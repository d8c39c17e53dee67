"""From the paths of a command line to the files that are read and written."""

from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .reading import SUFFIXES as IMAGES

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
WRITTEN = (".png", ".jpg", ".jpeg", ".bmp", ".webp")  # what OpenCV writes; pictures of other images become .png


@dataclass(frozen=True)
class Job:
    """One image or video, and the file that is written for it."""

    source: Path
    target: Path
    video: bool


def collect(inputs: Iterable[Path | str], output: Path | str) -> list[Job]:
    """The images and videos of ``inputs``, in order, with their places in the folder ``output``.

    Args:
        inputs: files, and folders that are searched with all of their subfolders. In a folder, files count that have
            the suffix of an image or a video; subfolders keep their names under ``output``.

    Raises:
        UserError: an input is not there, a folder holds neither images nor videos, ``output`` is a file, or two files
            would be written to one place or over an input.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output: {output} is a file, a folder is needed")
    jobs: list[Job] = []
    for path in map(Path, inputs):
        if path.is_dir():
            found = [_job(file, output / file.relative_to(path)) for file in _searched(path, output)]
            if not found:
                known = " ".join([*IMAGES, *VIDEOS])
                raise UserError(f"--input: {path} holds no image or video ({known})")
            jobs += found
        elif path.is_file():
            jobs.append(_job(path, output / path.name))
        else:
            raise UserError(f"--input: there is no file or folder {path} (looked for {path.absolute()})")
    _check_targets(jobs)
    return jobs


def _searched(folder: Path, output: Path) -> list[Path]:
    known = {*IMAGES, *VIDEOS}
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in known and file.is_file())
    own = output.resolve()  # pictures of an earlier run
    return [file for file in files if own == folder.resolve() or own not in file.resolve().parents]


def _job(source: Path, target: Path) -> Job:
    suffix = source.suffix.lower()
    video = suffix in VIDEOS
    if suffix not in ((".mp4",) if video else WRITTEN):
        target = target.with_name(f"{target.name}{'.mp4' if video else '.png'}")
    return Job(source, target, video)


def _check_targets(jobs: list[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    writers: dict[Path, Path] = {}
    for job in jobs:
        target = job.target.resolve()
        if target in sources:
            raise UserError(f"--output: {job.target} would be written over an input; name another folder")
        if target in writers:
            raise UserError(
                f"--input: {writers[target]} and {job.source} would both be written to {job.target}; "
                "draw them in two runs with two output folders"
            )
        writers[target] = job.source


def add_stock_argument(parser: ArgumentParser) -> None:
    """``--stock CONFIG CHECKPOINT``, the model that a prediction is compared with."""
    parser.add_argument("--stock", nargs=2, metavar=("CONFIG", "CHECKPOINT"),
                        help="draw stock, FFC and where they disagree beside each other")  # fmt: skip
