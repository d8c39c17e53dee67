"""Which checkpoint of a work directory a training goes on from."""

import re
from pathlib import Path

from ...reliability.resuming import POINTER, NothingToResume, choose_checkpoint

__all__ = ["POINTER", "NothingToResume", "checkpoint_to_resume", "saved_checkpoints"]


def checkpoint_to_resume(
    work_dir: str | Path, folder: str | Path | None = None, filename_tmpl: str = "iter_{}.pth"
) -> tuple[str | None, str]:
    """The checkpoint to go on from, and a warning if it is another one than ``last_checkpoint`` names.

    Identical to ``mmengine.runner.find_latest_checkpoint``, except that the file is read to its end before it is
    trusted, and that another one is taken if need be, see :func:`.choose_checkpoint`. Addresses such as ``s3://...``
    and folders (DeepSpeed) in the pointer are taken as they are. In a folder that was moved or copied, its own file is
    meant.

    Args:
        work_dir: where ``last_checkpoint`` lies.
        folder: where the checkpoints lie; default: ``work_dir``.
        filename_tmpl: their name, ``{}`` for the number of iterations or epochs. ``best_*.pth`` is no candidate: it
            holds no optimizer.

    Returns, Raises:
        As :func:`.choose_checkpoint`.
    """
    pointer = Path(work_dir) / POINTER
    named = pointer.read_text(errors="replace").strip() if pointer.is_file() else ""
    if named and ("://" in named or Path(named).is_dir()):
        return named, ""
    own = Path(folder or work_dir, Path(named).name)
    if named and Path(named).is_file() and own.is_file() and not own.samefile(named):
        # This folder is a copy: its own files count, not those of the folder that the pointer was written in.
        path, _ = choose_checkpoint(pointer, str(own), saved_checkpoints(Path(folder or work_dir), filename_tmpl))
        return path, f"{pointer} names {named}, of another folder: going on from {path}"
    return choose_checkpoint(pointer, named, saved_checkpoints(Path(folder or work_dir), filename_tmpl))


def saved_checkpoints(folder: Path, filename_tmpl: str) -> list[Path]:
    """The checkpoints in ``folder``, those of the most iterations first."""
    name = re.compile(re.escape(filename_tmpl).replace(re.escape("{}"), r"(\d+)"))
    numbered = [(int(found[1]), path) for path in folder.glob("*") if (found := name.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]
