"""Read proposal files without running code that is in them, in the place of the ``pickle.load`` of detectron2.

:func:`ffc_dense.detection.installing.install` puts it there: then the files in ``DATASETS.PROPOSAL_FILES_*`` are read
as numpy arrays and plain values. detectron2 unpickles them. A check before its own reading would not do: a pickle can
build an object and drop it, and then nothing of it is in what was checked.
"""

from typing import Any, BinaryIO

from ...safe_files import UnsafeFileError
from ...safe_files.pickles import unpickle


def load_proposals(file: BinaryIO, encoding: str = "latin1") -> dict[str, Any]:
    """``pickle.load(file, encoding="latin1")`` of a proposal file.

    Raises:
        UnsafeFileError: the file holds other objects, is damaged, or holds no dict; the message names it.
    """
    name = getattr(file, "name", "a proposal file")
    content = unpickle(file, name)
    if not isinstance(content, dict):
        raise UnsafeFileError(f"{name} holds a {type(content).__name__}, expected a dict of proposals")
    return content
