"""Read pickles of numpy arrays and plain values, such as detectron2's and Caffe2's weights."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

from .errors import damaged, refused
from .records import Refused, admitted, resolve


class _Unpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file, encoding="latin1")  # as detectron2 reads the pickles of Python 2
        self.admitted = admitted()

    def find_class(self, module: str, name: str) -> type:
        try:
            return self.admitted[f"{module}.{name}"]
        except KeyError:
            raise Refused(f"{module}.{name}") from None

    def persistent_load(self, identity: Any) -> Any:
        raise Refused("a reference to outside the file")


def read_pickle(path: str | Path) -> Any:
    """As ``pickle.load(file, encoding="latin1")``, for numpy arrays and scalars, text, numbers and containers.

    At every other object the reading ends before the object is looked up, so nothing of the file runs.

    Raises:
        UnsafeFileError: the file names another object (the message says which), or is not a pickle.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        return unpickle(file, path)


def unpickle(file: BinaryIO, name: str | Path) -> Any:
    """As :func:`read_pickle`, for an open file; ``name`` is for the messages."""
    try:
        return resolve(_Unpickler(file).load())
    except Refused as error:
        raise refused(name, str(error)) from error
    except pickle.UnpicklingError as error:
        raise damaged(name, f"it is no pickle of numpy arrays and plain values ({error})") from error
    # Everything that a malformed pickle raises, by the documentation of pickle, and nesting beyond the stack.
    except (AttributeError, EOFError, ImportError, IndexError, KeyError, TypeError, ValueError, OverflowError,
            MemoryError, RecursionError) as error:  # fmt: skip
        raise damaged(name, f"it is no pickle of numpy arrays and plain values ({error!r})") from error
