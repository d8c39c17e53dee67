"""Config, weights and proposal files that a script reads as data: nothing in them runs."""

import yaml
from detectron2.config import CfgNode

from ..safe_files import UnsafeFileError, check_weights_only
from . import safe_proposals  # noqa: F401  (detectron2's reader of proposal files)


def merge_config_file(cfg: CfgNode, path: str) -> None:
    """Identical to ``cfg.merge_from_file(path)``, except that ``!!python`` tags are refused, in its bases too.

    detectron2 falls back to ``yaml.unsafe_load``, which calls what such a tag names.

    Raises:
        UnsafeFileError: the file or a base has such a tag; the message has the tag and the line.
    """
    try:
        cfg.merge_from_file(path, allow_unsafe=False)
    except yaml.constructor.ConstructorError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1} of {mark.name}" if mark else "a base of it"
        raise UnsafeFileError(
            f"{path} was not read: {error.problem} ({where}). A yaml config is data here and names no Python objects: "
            "write the plain value"
        ) from error


def check_data_only(cfg: CfgNode, *, weights_only: bool) -> None:
    """Refuse weights named by ``cfg`` that could hold code, before anything else is read.

    Args:
        weights_only: ``--weights-only``: ``MODEL.WEIGHTS`` must be a .safetensors file, or none.

    Raises:
        UnsafeFileError: names the file.
    """
    if weights_only:
        check_weights_only(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS")
