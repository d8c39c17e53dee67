"""Which checkpoint of a work directory a training goes on from."""

import re
from pathlib import Path

from ...errors import UserError
from ...reliability.saving import is_whole

POINTER = "last_checkpoint"  # mmengine's file that names the newest checkpoint


class NothingToResume(UserError):
    """A folder holds checkpoints, and none of them is whole."""


def checkpoint_to_resume(
    work_dir: str | Path, folder: str | Path | None = None, filename_tmpl: str = "iter_{}.pth"
) -> tuple[str | None, str]:
    """The checkpoint to go on from, and a warning if it is another one than ``last_checkpoint`` names.

    Identical to ``mmengine.runner.find_latest_checkpoint``, except that the file is read to its end before it is
    trusted (:func:`ffc_dense.reliability.saving.is_whole`). If the pointer is missing or empty, or names a file that is
    missing or damaged, it is the whole file of the most iterations. Addresses such as ``s3://...`` and folders
    (DeepSpeed) in the pointer are taken as they are.

    Args:
        work_dir: where ``last_checkpoint`` lies.
        folder: where the checkpoints lie; default: ``work_dir``.
        filename_tmpl: their name, ``{}`` for the number of iterations or epochs. ``best_*.pth`` is no candidate: it
            holds no optimizer.

    Returns:
        (path, ""): as the pointer says. (path, warning): another whole file. (None, ""): nothing was saved yet.

    Raises:
        NothingToResume: there is a pointer, or there are checkpoints, and no whole file.
    """
    folder = Path(work_dir if folder is None else folder)
    pointer = Path(work_dir) / POINTER
    named = pointer.read_text(errors="replace").strip() if pointer.is_file() else ""
    if named and ("://" in named or Path(named).is_dir() or is_whole(named)):
        return named, ""
    if not pointer.is_file():
        fault = f"{pointer} is missing"
    elif not named:
        fault = f"{pointer} is empty"
    else:
        fault = f"{pointer} names {named}, which is {'damaged' if Path(named).is_file() else 'missing'}"
    candidates = saved_checkpoints(folder, filename_tmpl)
    for path in candidates:
        if is_whole(path):
            return str(path), f"{fault}: going on from {path}, the newest checkpoint that is whole"
    if not candidates and not pointer.is_file():
        return None, ""
    damaged = f"the files {', '.join(path.name for path in candidates)} in it are damaged" if candidates else "none"
    raise NothingToResume(
        f"{fault}, and {folder} holds no whole checkpoint ({damaged}). Put back a copy, or remove {pointer.name} and "
        f"{filename_tmpl.format('*')} from it to start from the beginning"
    )


def saved_checkpoints(folder: Path, filename_tmpl: str) -> list[Path]:
    """The checkpoints in ``folder``, those of the most iterations first."""
    name = re.compile(re.escape(filename_tmpl).replace(re.escape("{}"), r"(\d+)"))
    numbered = [(int(found[1]), path) for path in folder.glob("*") if (found := name.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]
