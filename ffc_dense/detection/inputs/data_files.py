"""Config files that a script reads as data: nothing in them runs."""

import yaml
from detectron2.config import CfgNode

from ...safe_files import UnsafeFileError


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
