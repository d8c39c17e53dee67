import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

from ...errors import UserError
from ...errors.reporting import reading_input
from ...frameworks import recognise
from ..model.config import add_ffc_config
from .config_checks import SPLITS, check_config
from .config_errors import explain_yaml
from .data_files import merge_config_file


def read_config(path: str, options: Sequence, splits: Sequence[str] = SPLITS) -> CfgNode:
    """detectron2's config, with FFC's keys and with ``options`` merged, checked. Nothing else is read.

    Args:
        path: a .yaml file.
        options: KEY VALUE KEY VALUE ..., as on the command line. The name of one dataset needs no brackets.
        splits: those that the command uses, whose datasets must be registered; a model alone needs none.

    Raises:
        UserError: the file, an option or a value of the config is wrong; the message names it.
    """
    check_kind(path)
    cfg = get_cfg()
    add_ffc_config(cfg)
    with reading_input(partial(explain_yaml, where=path or "--config-file")):
        merge_config_file(cfg, path)
    merge_options(cfg, options)
    check_config(cfg, splits)
    return cfg


def check_kind(path: str) -> None:
    """Refuse a file that another command takes.

    Raises:
        UserError: the message says what the file is, and which command takes it.
    """
    if not path:
        example = "configs/mini_coco/faster_rcnn_R_18_FPN_ffc.yaml"
        raise UserError(f"--config-file: none is given; name one, such as {example}")
    if not Path(path).is_file() or Path(path).suffix not in (".py", ".json"):
        return  # whoever reads it says what is wrong
    framework, kind = recognise(path)
    what, command = f"a config of {framework.title}", "tools/mmseg_tool.py"
    if kind == "lazy":
        what, command = "a LazyConfig", "tools/lazyconfig_train_net.py"
    raise UserError(
        f"--config-file {path}: expected detectron2's .yaml, this is {what}; {command} or ffc-dense takes it"
    )


def merge_options(cfg: CfgNode, options: Sequence) -> None:
    """Merge KEY VALUE KEY VALUE ... into ``cfg``.

    Raises:
        UserError: names the key or value.
    """
    with reading_input(partial(explain_yaml, where="the command line")):
        cfg.merge_from_list([_value(key, value) for key, value in zip(["", *options], options, strict=False)])


def _value(key: str, value: Any) -> Any:
    """DATASETS.TEST NAME is the list of one name, which yacs requires as "('NAME',)"."""
    if key in ("DATASETS.TRAIN", "DATASETS.TEST") and isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value):
        return (value,)
    return value
