import argparse
from functools import partial
from pathlib import Path

from mmengine.config import Config, DictAction

from ...errors import UserError
from ...errors.reporting import reading_input
from ...frameworks import recognise
from . import safe_loading  # noqa: F401  (mmengine runs nothing in yaml configs)
from .config_checks import check_config
from .config_errors import explain_config, explain_options


def parse_options(pairs: list[str]) -> dict | None:
    """KEY=VALUE pairs as mmengine's DictAction takes them, to what ``Config.merge_from_dict`` takes.

    Raises:
        UserError: not such pairs.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="*", action=DictAction)
    with reading_input(lambda error: f"--cfg-options: expected KEY=VALUE pairs ({error})"):
        return parser.parse_args(["--cfg-options", *pairs]).cfg_options


def own_folder(folder: str | Path) -> Path:
    """The folder that ``--data`` names, as it can stand in an override.

    Raises:
        UserError: it cannot.
    """
    folder = Path(folder).absolute()
    if set(str(folder)) & set(" ,()[]'\"="):
        raise UserError(
            f"--data {folder}: mmengine's options pass no path with spaces, commas, brackets or quotes; link it"
        )
    return folder


def load_config(path: str) -> Config:
    """The config in a file, unchecked.

    Raises:
        UserError: it is not there, no config, or of another framework; the message names it.
    """
    if Path(path).is_file() and Path(path).suffix in (".py", ".yaml", ".yml", ".json"):
        framework, kind = recognise(path)
        if not framework.scope:
            tool = "lazyconfig_train_net.py" if kind == "lazy" else "train_net.py"
            raise UserError(f"{path} is a config of {framework.title}: train it with `ffc-dense train` or tools/{tool}")
    with reading_input(partial(explain_config, path=path)):
        return Config.fromfile(path)


def read_config(path: str, options: dict | None, trains: bool = False) -> Config:
    """A config with ``--cfg-options`` merged, checked for a training or else for a test (:func:`check_config`).

    Raises:
        UserError: the file, an option or a value of the config is wrong; the message names it.
    """
    cfg = load_config(path)
    with reading_input(partial(explain_options, options=options)):
        cfg.merge_from_dict(options or {})
    check_config(cfg, trains)
    return cfg
