"""Readers of weights, .yaml and .pkl files that run nothing, in the form of mmengine's own."""

import logging
from pathlib import Path
from typing import Any

from mmengine.fileio.handlers import PickleHandler, YamlHandler
from mmengine.logging import print_log

from ...safe_files import UnsafeFileError, check_digest, require_safetensors, split_sha256
from ...safe_files.pickles import unpickle
from ...safe_files.yaml_files import parse_yaml
from .mmengine_files import read_checkpoint
from .weight_addresses import weights_file

_pickles_forbidden = False
_own_folder: Path | None = None


def forbid_pickled_checkpoints(work_dir: str | Path | None = None) -> None:
    """``--weights-only``: from now on this process reads .safetensors, and checkpoints of its run in ``work_dir``."""
    global _pickles_forbidden, _own_folder
    _pickles_forbidden, _own_folder = True, Path(work_dir).resolve() if work_dir else None


def load_from_checked_file(filename: str, map_location: Any = None) -> dict[str, Any]:
    """mmengine's loader for paths, addresses and registered storage back ends; everything is read onto the CPU.

    Raises:
        UnsafeFileError, DigestError, FileNotFoundError, ValueError: the message names the file.
    """
    place, expected = split_sha256(filename)
    with weights_file(place, "checkpoint") as path:
        if path is None:
            return refuse_scheme(filename)
        if _pickles_forbidden and not (_own_folder and path.resolve().is_relative_to(_own_folder)):
            require_safetensors(str(path), "checkpoint")
        check_digest(path, expected, lambda message: print_log(message, "current", logging.WARNING))
        return read_checkpoint(path)


def refuse_scheme(filename: str, map_location: Any = None) -> dict[str, Any]:
    raise UnsafeFileError(f"{filename} was not read: only mmengine's own unsafe loader knows it; give the file's path")


class SafeYamlHandler(YamlHandler):
    def load_from_fileobj(self, file, **kwargs):
        return parse_yaml(file, getattr(file, "name", "a yaml file"))


class SafePickleHandler(PickleHandler):
    def load_from_fileobj(self, file, **kwargs):
        return unpickle(file, getattr(file, "name", "a pickle"))
