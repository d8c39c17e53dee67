"""Config files that a script reads as data: nothing in them runs."""

import types
from unittest.mock import patch

import yaml
from detectron2.config import CfgNode
from fvcore.common import config as fvcore_config

from ...safe_files import UnsafeFileError
from .plain_yaml import load_plain


def merge_config_file(cfg: CfgNode, path: str) -> None:
    """Identical to ``cfg.merge_from_file(path)``, except that ``!!python`` tags are data, in its bases too.

    detectron2 falls back to ``yaml.unsafe_load``, which calls what such a tag names. Tuples and the arithmetic of
    anchors, as in detectron2's own RetinaNet configs, are plain values (:mod:`.plain_yaml`); other tags are refused.

    Raises:
        UnsafeFileError: the file or a base has another such tag; the message has the tag and the line.
    """
    reader = types.SimpleNamespace(safe_load=load_plain, constructor=yaml.constructor)
    try:
        with patch.object(fvcore_config, "yaml", reader):
            cfg.merge_from_file(path, allow_unsafe=False)
    except yaml.constructor.ConstructorError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1} of {mark.name}" if mark else "a base of it"
        raise UnsafeFileError(
            f"{path} was not read: {error.problem} ({where}). A yaml config is data here and names no Python objects: "
            "write the plain value"
        ) from error
