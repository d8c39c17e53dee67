"""Choose the checkpoint that a training resumes from."""

from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import UserError
from .saving import is_whole

POINTER = "last_checkpoint"  # the file that names the newest checkpoint, in every framework


class NothingToResume(UserError):
    """A folder has checkpoints, but none of them is complete."""


class CannotResume(UserError):
    """The checkpoint to resume from is that of another model or optimizer.

    Args:
        checkpoint: its file.
        cause: in what it differs.
        settings: the config keys that differ, in words; '' if they are not known.
    """

    def __init__(self, checkpoint: str, cause: str, settings: str = ""):
        self.checkpoint, self.cause = checkpoint, cause
        super().__init__(
            f"--resume: {checkpoint} is of a training with other settings{settings and f': {settings}'} ({cause}). Set "
            "them back, or train in another output folder"
        )


def choose_checkpoint(
    pointer: Path, named: str, candidates: Iterable[Path], resumable: Callable[[Path], bool] = is_whole
) -> tuple[str | None, str]:
    """The checkpoint to resume from, and a warning if it is not the one that the pointer names.

    The whole file is read before it is used (:func:`.saving.is_whole`).

    Args:
        pointer: the file that names a checkpoint.
        named: the path in it; '' if it is empty or missing.
        candidates: the checkpoints of this training, those of the most iterations first. Not used if ``named`` is
            complete.
        resumable: whether a training can resume from a candidate, which must be complete.

    Returns:
        (path, ""): the one that the pointer names. (path, warning): another one. (None, ""): nothing was saved yet.

    Raises:
        NothingToResume: there is a pointer or a damaged candidate, and no checkpoint to resume from.
    """
    if named and is_whole(named):
        return named, ""
    if not pointer.is_file():
        fault = f"{pointer} is missing"
    elif not named:
        fault = f"{pointer} is empty"
    else:
        fault = f"{pointer} names {named}, which is {'damaged' if Path(named).is_file() else 'missing'}"
    candidates = list(candidates)
    for path in candidates:
        if resumable(path):
            return str(path), f"{fault}: going on from {path}, the newest checkpoint that is whole"
    damaged = [path for path in candidates if not is_whole(path)]
    if not damaged and not pointer.is_file():
        return None, ""
    files = f"damaged: {', '.join(path.name for path in damaged)}" if damaged else "there is none"
    raise NothingToResume(
        f"{fault}, and no other checkpoint in {pointer.parent} is whole ({files}). Put back a copy, or remove "
        f"{pointer.name} and the damaged checkpoints to start from the beginning"
    )
