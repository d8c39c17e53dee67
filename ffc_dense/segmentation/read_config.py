import argparse
from functools import partial

from mmengine.config import Config, DictAction

from ..commands import reading_input
from . import safe_loading  # noqa: F401  (mmengine runs nothing in yaml configs)
from .config_checks import check_config
from .config_errors import explain_config, explain_options


def read_config(path: str, overrides: list[str]) -> Config:
    """mmseg's config with ``--cfg-options`` merged, checked.

    Args:
        path: the config file.
        overrides: KEY=VALUE pairs, as mmengine's DictAction takes them.

    Raises:
        UserError: the file, a pair or a value of the config is wrong; the message names it.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="*", action=DictAction)
    with reading_input(lambda error: f"--cfg-options: expected KEY=VALUE pairs ({error})"):
        options = parser.parse_args(["--cfg-options", *overrides]).cfg_options
    with reading_input(partial(explain_config, path=path)):
        cfg = Config.fromfile(path)
    with reading_input(partial(explain_options, options=options)):
        cfg.merge_from_dict(options)
    check_config(cfg)
    return cfg
