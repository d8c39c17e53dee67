"""Results as files. They are there whole or not at all, and a failure names the file and the argument."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CannotWrite
from ..reliability.saving import NotSaved, write_bytes_atomically


@contextmanager
def writing(path: Path, argument: str = "--output") -> Iterator[None]:
    """Within the context, errors of the file system become a :class:`CannotWrite`. It is for the writing alone.

    Args:
        path: what is written.
        argument: the one that names the place, for the message.
    """
    try:
        yield
    except (OSError, NotSaved) as error:
        # NotSaved speaks of checkpoints; the error behind it says why.
        cause = error.__cause__ if isinstance(error, NotSaved) else error
        message = f"{argument}: {path} cannot be written: {cause}; make room or name another folder"
        raise CannotWrite(message) from error


def write_result(content: bytes, path: Path, argument: str = "--output") -> None:
    """Write a file and the folders above it, as :func:`ffc_dense.reliability.saving.write_bytes_atomically`.

    Raises:
        CannotWrite: see :func:`writing`.
    """
    with writing(path, argument):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(content, path)
