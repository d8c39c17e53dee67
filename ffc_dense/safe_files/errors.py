from pathlib import Path

from ..errors import UserError

REMEDY = (
    "Nothing of it was run. Take the weights alone, as .safetensors, from whoever made the file; where you trust it, "
    "write them yourself in a process of its own (SECURITY.md shows how)"
)


class UnsafeFileError(UserError, RuntimeError):
    """A file that was not read: it holds objects that run code, is damaged or has another format than expected."""


def refused(path: str | Path, name: str) -> UnsafeFileError:
    """The error for a file that holds an object called ``name`` (``module.name``)."""
    return UnsafeFileError(f"{path} was not read: it holds {name}, not only tensors, numbers and text. {REMEDY}")


def damaged(path: str | Path, reason: str) -> UnsafeFileError:
    return UnsafeFileError(f"{path} was not read: {reason}. It is damaged, or no file of this kind: fetch it again")
