"""Complete files or none, even if the writing process is killed.

A file is written under a temporary name in the same folder, synced to the disk (``fsync``) and renamed to its final
name; the rename is synced too. A reader, or a resumed run, therefore finds either the old file or the new one.

:func:`save_atomically`, :func:`write_bytes_atomically` and :func:`write_text_atomically` write; they raise
:class:`NotSaved`.
:func:`remove_partial_files` deletes the temporary files of a killed process, at the next start.
:func:`is_whole` checks that a checkpoint is complete and unchanged since it was written.
:func:`refuse_non_finite` raises :class:`NonFiniteState` before a checkpoint is overwritten with NaN or infinity.
"""

import errno
import os
import pickle
import re
import secrets
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import TrainingStopped

PARTIAL = re.compile(r".+\.[0-9a-f]{8}\.partial", re.DOTALL)  # names of temporary files: NAME.RANDOM.partial
DOS_FOLDER = 0x10  # in an entry's external attributes

_Path = str | os.PathLike[str]


class NotSaved(TrainingStopped):
    """A file could not be written: the disk is full, a quota is reached, or a permission is missing."""


class NonFiniteState(TrainingStopped):
    """The state to save holds NaN or infinity."""


def save_atomically(state: Any, path: _Path, *, previous: _Path | None = None) -> None:
    """``torch.save(state, path)``, except that ``path`` is replaced only once the whole new file is on the disk.

    Args:
        state: as for ``torch.save``.
        path: the file to write or to replace. Its folder must exist.
        previous: the checkpoint that an error message names as untouched. Default: ``path``, if it exists.

    Raises:
        NotSaved: the file could not be written. ``path`` is unchanged, and the temporary file is removed.
    """
    _write_atomically(Path(path), lambda file: torch.save(state, file), previous)


def write_bytes_atomically(content: bytes, path: _Path, *, previous: _Path | None = None) -> None:
    """Write ``content`` like :func:`save_atomically`, for callers that have serialised a checkpoint themselves."""
    _write_atomically(Path(path), lambda file: file.write(content), previous)


def write_text_atomically(text: str, path: _Path, *, previous: _Path | None = None) -> None:
    """Write ``text`` as UTF-8 like :func:`save_atomically`, for small files such as ``last_checkpoint``."""
    _write_atomically(Path(path), lambda file: file.write(text.encode()), previous)


def remove_partial_files(folder: _Path) -> list[Path]:
    """Delete the temporary files in ``folder`` and return their paths, sorted.

    Call it at the start of a run, in the one process that writes there: it also deletes files that are being written.
    Files of other programs, such as ``download.zip.partial``, are kept.
    """
    found = sorted(path for path in Path(folder).iterdir() if PARTIAL.fullmatch(path.name) and path.is_file())
    for path in found:
        path.unlink(missing_ok=True)
    return found


def is_whole(path: _Path) -> bool:
    """Whether ``path`` is a complete file of ``torch.save`` in which no byte of the data has changed.

    Reads the file once and compares its checksums (CRC-32), which ``torch.load`` does not. Then ``torch.load`` reads
    only the structure, without the tensors' data and with ``weights_only=True``. A file in the format of torch before
    1.6 has no checksums and counts as incomplete. So does a path that ends in ``.safetensors``, which ``torch.load``
    reads as such a file.
    """
    if os.fspath(path).endswith(".safetensors"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            # torch reads no data for an entry that is marked as a folder.
            if any(entry.external_attr & DOS_FOLDER for entry in archive.infolist()) or archive.testzip() is not None:
                return False
        torch.load(path, map_location="meta", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        return True  # objects that weights_only refuses: their checksum was right
    except zipfile.BadZipFile:
        return False
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, struct.error, zlib.error):
        return False  # what zipfile (NotImplementedError: its method of compression) and torch raise for a damaged file
    except (AssertionError, AttributeError, LookupError, OverflowError, TypeError):
        return False  # what torch raises for a malformed pickle under right checksums
    return True


def non_finite(state: Any) -> list[str]:
    """Names of the floating-point tensors in ``state`` that hold NaN or infinity.

    Minimum and maximum of each tensor and one wait for the device: milliseconds for a detector.

    Args:
        state: a state dict, or nested mappings, lists and tuples with tensors. The keys to a tensor, joined by dots,
            are its name. Everything else, including plain numbers, is ignored.
    """
    tensors = [(name, tensor) for name, tensor in _tensors(state) if tensor.numel()]
    if not tensors:
        return []
    # The smallest and the largest number are NaN where any number is.
    extremes = [torch.stack(torch.aminmax(tensor.detach())).double() for _, tensor in tensors]
    devices = {extreme.device for extreme in extremes}
    gathered = torch.stack(extremes if len(devices) == 1 else [extreme.cpu() for extreme in extremes])
    finite = gathered.isfinite().all(1).tolist()
    return [name for (name, _), good in zip(tensors, finite, strict=True) if not good]


def refuse_non_finite(state: Any, path: _Path, *, previous: _Path | None = None) -> None:
    """Refuse to save a ``state`` that holds NaN or infinity.

    Args:
        state: as in :func:`non_finite`.
        path: its file, for the message.
        previous: the checkpoint that the message names as untouched. Default: ``path``, if it exists.

    Raises:
        NonFiniteState: the message names the first such tensor and their number.
    """
    names = non_finite(state)
    if names:
        more = f" and {len(names) - 1} more tensors hold" if len(names) > 1 else " holds"
        raise NonFiniteState(
            f"{path} was not written: {names[0]}{more} NaN or infinity. {_untouched(Path(path), previous)}"
            "Go on from it with a smaller learning rate or clipped gradients"
        )


def _tensors(state: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        if state.is_complex():
            state = torch.view_as_real(state)
        if state.is_floating_point():
            yield prefix, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(state, list | tuple):
        for index, value in enumerate(state):
            yield from _tensors(value, f"{prefix}.{index}" if prefix else str(index))


def _write_atomically(path: Path, write: Callable[[BinaryIO], Any], previous: _Path | None) -> None:
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    handled = sys.exc_info()[1]  # an exception that the caller handles is not an error of this file
    try:
        with open(partial, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        cause = _os_error(error, handled)
        if cause is None:
            raise
        raise NotSaved(
            f"{path} was not written: {cause.strerror or cause} ({errno.errorcode.get(cause.errno, 'no errno')}); "
            f"{_free_space(path.parent)}. {_untouched(path, previous)}Make room or set another folder, then resume"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Sync a rename to the disk, if the file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _os_error(error: BaseException | None, handled: BaseException | None) -> OSError | None:
    """The system error that caused ``error``: torch.save raises a RuntimeError when a write fails.

    Args:
        handled: the exception that was being handled when the writing began. It and its causes do not count.
    """
    while isinstance(error, RuntimeError) and error is not handled:
        error = error.__cause__ or error.__context__
    return error if isinstance(error, OSError) and error is not handled else None


def _untouched(path: Path, previous: _Path | None) -> str:
    previous = previous or (path if path.is_file() else None)
    return f"The previous checkpoint {previous} is untouched. " if previous else "There is no previous checkpoint. "


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free in {folder}"
    except OSError as error:
        return f"{folder} cannot be looked at ({error.strerror})"
