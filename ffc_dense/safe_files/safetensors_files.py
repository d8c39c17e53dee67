"""Weights as .safetensors: a JSON header and raw tensors, without a place for code."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..reliability.saving import write_bytes_atomically
from .errors import UnsafeFileError, damaged


def _library(path: str | Path):
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise UnsafeFileError(f"{path}: the package safetensors is not installed; pip install safetensors") from error
    return safetensors


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of ``path``, on the CPU, and its metadata.

    Raises:
        UnsafeFileError: the file is damaged or of another format, or the package safetensors is not installed.
        OSError: it cannot be opened.
    """
    library = _library(path)
    with open(path, "rb"):
        pass  # raises an OSError that names the file if it is missing or a folder
    try:
        with library.safe_open(str(path), framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})
    except library.SafetensorError as error:
        raise damaged(path, f"it is no .safetensors file ({error})") from error


def classes_in(metadata: Mapping[str, str], path: str | Path) -> list[str]:
    """The names of the classes in the metadata of ``path``, as ``ffc-dense convert`` notes them; [] without.

    Raises:
        UnsafeFileError: the entry is no JSON list of names.
    """
    try:
        names = json.loads(metadata.get("classes", "[]"))
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise damaged(path, f"its metadata 'classes' is no JSON list of names: {metadata['classes']!r:.80}")
    return names


def write_safetensors(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write ``tensors``: the complete file or none. Tensors that share memory are written separately.

    Raises:
        UnsafeFileError: the package safetensors is not installed.
        NotSaved: the file could not be written; ``path`` is unchanged.
    """
    library = _library(path)
    own = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
    write_bytes_atomically(library.torch.save(own, {"format": "pt", **metadata}), path)
