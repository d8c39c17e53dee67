"""The folder of a run: one training at a time writes there, and a new one does not start in an old one's folder."""

import os
import socket
from pathlib import Path
from typing import IO

from ..errors import UserError
from .resuming import POINTER

LOCK = ".training.lock"

_held: dict[str, IO[str]] = {}  # closing a file would give its lock back


def claim_run_folder(folder: str | Path, option: str, *, resumes: bool, checkpoints: str) -> None:
    """Lock ``folder`` for this process until it ends for any reason. For the first process of a training.

    The operating system holds the lock, on a file in the folder. It works across machines if their file system has such
    locks; on a file system without locks it has no effect. The same process may claim a folder again.

    Args:
        folder: is made if it is missing. An address (``s3://...``) is ignored.
        option: the option that chooses another folder, for the message.
        resumes: whether the training resumes from a checkpoint in the folder, if there is one.
        checkpoints: pattern of their names.

    Raises:
        UserError: another training writes there, a new one would start in an old one's folder, or the folder is not
            writable.
    """
    if "://" in str(folder):
        return
    folder = Path(folder)
    found = [POINTER] if (folder / POINTER).is_file() else sorted(path.name for path in folder.glob(checkpoints))
    if found and not resumes:
        raise UserError(
            f"{folder} holds a training already ({found[-1]}): --resume goes on with it; to start anew, choose another "
            f"folder with {option}, or delete this one"
        )
    lock_run_folder(folder, option)


def lock_run_folder(folder: str | Path, option: str) -> None:
    """Only the lock of :func:`claim_run_folder`.

    Raises:
        UserError: another training holds it, or the folder is not writable.
    """
    key = os.path.realpath(folder)
    if key in _held:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = open(Path(folder, LOCK), "a+")
    except OSError as error:
        raise UserError(f"{option}: {folder} cannot be written to: {error}") from error
    if not _locked(file):
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise UserError(
            f"{folder}: another training writes there (process {holder}); wait until it ends, or choose another folder "
            f"with {option}"
        )
    file.truncate(0)
    file.write(f"{os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held[key] = file


def _locked(file: IO[str]) -> bool:
    """Whether this process has the lock now, or the file system has no locks."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        # The lock belongs to the process, not to the open file: data loader workers, which can live longer, do not
        # inherit it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
