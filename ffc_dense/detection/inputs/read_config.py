from collections.abc import Sequence
from functools import partial

from detectron2.config import CfgNode, get_cfg

from ...errors.reporting import reading_input
from ..model.config import add_ffc_config
from .config_checks import SPLITS, check_config
from .config_errors import explain_yaml
from .data_files import merge_config_file


def read_config(path: str, options: Sequence, splits: Sequence[str] = SPLITS) -> CfgNode:
    """detectron2's config, with FFC's keys and with ``options`` merged, checked. Nothing else is read.

    Args:
        path: a .yaml file.
        options: KEY VALUE KEY VALUE ..., as on the command line.
        splits: those that the command uses, whose datasets must be registered; a model alone needs none.

    Raises:
        UserError: the file, an option or a value of the config is wrong; the message names it.
    """
    cfg = get_cfg()
    add_ffc_config(cfg)
    with reading_input(partial(explain_yaml, where=path or "--config-file")):
        merge_config_file(cfg, path)
    merge_options(cfg, options)
    check_config(cfg, splits)
    return cfg


def merge_options(cfg: CfgNode, options: Sequence) -> None:
    """Merge KEY VALUE KEY VALUE ... into ``cfg``.

    Raises:
        UserError: names the key or value.
    """
    with reading_input(partial(explain_yaml, where="the command line")):
        cfg.merge_from_list(list(options))
