"""Read files of ``torch.save``, always with ``weights_only=True``."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .errors import UnsafeFileError, damaged, refused
from .records import Refused, Resolver, admitted, resolve

_KNOWN_TO_TORCH = ("_codecs.encode", "collections.OrderedDict")


def check_torch(path: str | Path) -> None:
    """Refuse torch before 2.6: its weights-only reader could be made to run code, and supports no placeholders.

    Raises:
        UnsafeFileError: names ``path``, which was not read.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        raise UnsafeFileError(
            f"{path} was not read: torch {torch.__version__} cannot read it safely; 2.6 or newer can, and every torch "
            "can load a .safetensors file"
        )


def read_torch(path: str | Path, extra: Mapping[str, Resolver] | None = None) -> Any:
    """As ``torch.load(path, map_location="cpu")``, for tensors, numpy arrays and scalars, and plain values.

    Args:
        extra: names of further objects, each with a function (arguments, state) -> value. It is called after the file
            was read; the object of that name is never called.

    Raises:
        UnsafeFileError: the file holds another object (the message names it), is no checkpoint, or torch is too old.
        OSError: it cannot be opened.
    """
    check_torch(path)
    names = [(cls, name) for name, cls in admitted(extra).items() if name not in _KNOWN_TO_TORCH]
    with open(path, "rb") as file:
        try:
            with torch.serialization.safe_globals(names):
                return resolve(torch.load(file, map_location="cpu", weights_only=True))
        except Refused as error:
            raise refused(path, str(error)) from error
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            if found:
                raise refused(path, found[1] if "." in found[1] else f"builtins.{found[1]}") from error
            raise damaged(path, f"it is no checkpoint of tensors and plain values ({_first_line(error)})") from error
        # RuntimeError: a damaged zip archive, or one of TorchScript; the rest: malformed pickles.
        except (AssertionError, AttributeError, EOFError, IndexError, KeyError, OverflowError, RecursionError,
                RuntimeError, TypeError, ValueError) as error:  # fmt: skip
            raise damaged(path, f"it is no checkpoint of tensors and plain values ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
