"""Which checkpoint a training goes on from."""

from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import UserError
from .saving import is_whole

POINTER = "last_checkpoint"  # the file that names the newest checkpoint, in both frameworks


class NothingToResume(UserError):
    """A folder holds checkpoints, and none of them is whole."""


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
    """The checkpoint to go on from, and a warning if it is another one than the pointer names.

    The file is read to its end before it is trusted (:func:`.saving.is_whole`).

    Args:
        pointer: the file that names a checkpoint.
        named: the path that it names; '' if it is empty or missing.
        candidates: the checkpoints of this training, those of the most iterations first. Not looked at if ``named`` is
            whole.
        resumable: whether a training can go on from a candidate, which is whole then.

    Returns:
        (path, ""): as the pointer says. (path, warning): another one. (None, ""): nothing was saved yet.

    Raises:
        NothingToResume: there is a pointer, or there are damaged candidates, and no other to go on from.
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
