"""Make mmengine read files without running code that is in them. Importing this module is enough::

    custom_imports = dict(imports=['ffc_dense.openmmlab.inputs.safe_loading'], allow_failed_imports=False)

From then on, in this process,

- ``load_from``, ``--resume`` and ``init_cfg=dict(type='Pretrained')`` read checkpoints by
  :func:`.mmengine_files.read_checkpoint`. mmengine 0.10.7 unpickles them; onedl-mmengine does so whenever
  ``weights_only`` fails. ``.safetensors`` files load too, and ``PATH?sha256=HEX`` is compared first.
- ``mmengine.load``, which reads ``.yaml`` configs, knows no ``!!python`` tags but tuples, and builds numpy arrays and
  plain values only from ``.pkl`` files. mmengine itself calls what these name.

Nothing is read in another way after one of these fails. Schemes that are downloaded by other means (``s3://``,
``pavi://``, ``mmcls://``) are refused. ``tools/mmseg_tool.py`` and ``tools/eval_cityscapes.py`` import this module
before they read the config; in a config it acts after the config itself was read.
"""

import logging
from pathlib import Path
from typing import Any

from mmengine.fileio.handlers import PickleHandler, YamlHandler, register_handler
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader

from ...safe_files import UnsafeFileError, check_digest, require_safetensors, split_sha256
from ...safe_files.pickles import unpickle
from ...safe_files.yaml_files import parse_yaml
from .mmengine_files import read_checkpoint
from .weight_addresses import local_path

_pickles_forbidden = False
_own_folder: Path | None = None


def forbid_pickled_checkpoints(work_dir: str | Path | None = None) -> None:
    """``--weights-only``: from now on this process reads .safetensors, and checkpoints of its run in ``work_dir``."""
    global _pickles_forbidden, _own_folder
    _pickles_forbidden, _own_folder = True, Path(work_dir).resolve() if work_dir else None


def load_from_checked_file(filename: str, map_location: Any = None) -> dict[str, Any]:
    """mmengine's loader for paths and addresses; everything is read onto the CPU.

    Raises:
        UnsafeFileError, DigestError, FileNotFoundError, ValueError: the message names the file.
    """
    place, expected = split_sha256(filename)
    path = local_path(place, "checkpoint")
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


def _install() -> None:
    ours = ("", "http://", "https://", "open-mmlab://", "openmmlab://", "torchvision://", "modelzoo://")
    own = "mmengine.runner.checkpoint"
    others = [prefix for prefix, loader in CheckpointLoader._schemes.items()
              if prefix not in ours and loader.__module__ == own]  # fmt: skip
    CheckpointLoader.register_scheme(others, refuse_scheme, force=True)
    CheckpointLoader.register_scheme(ours, load_from_checked_file, force=True)
    register_handler(["yaml", "yml"])(SafeYamlHandler)
    register_handler(["pickle", "pkl"])(SafePickleHandler)


_install()
