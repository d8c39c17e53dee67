"""What the adapters of mmengine's frameworks have in common in ``ffc-dense``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


def script_of(commands: str, command: str, config: str, args: list[str]) -> tuple[str, list[str]]:
    """The module whose ``command`` runs, and its arguments.

    Args:
        commands: the adapter's package of commands; a training is that of the framework's own script.
        command, config, args: of the command line.
    """
    if command != "train":
        return f"{commands}.{command}", [config, *args]
    device = []
    if "--device" in args:  # of tools/mmseg_tool.py, the others are those of the framework's own train.py
        place = args.index("--device")
        device, args = args[place : place + 2], [*args[:place], *args[place + 2 :]]
    return f"{__name__}.scripts", [*device, "train", config, *args]


def with_own_data(
    command: str, config: str, args: list[str], options_of: "Callable[[Config, str, str], list[str]]"
) -> list[str]:
    """``args`` with ``--data FOLDER`` as overrides of the config; the user's own overrides come after them.

    Args:
        command: of ``ffc-dense``; it reads its own part of the folder.
        options_of: the adapter's: config, folder and command -> KEY=VALUE pairs.

    Raises:
        UserError: no folder is named, or ``options_of`` refuses it.
    """
    from ...errors import UserError
    from ..inputs.data_configs import check_config_files
    from ..inputs.read_config import load_config

    place = args.index("--data")
    folder, args = args[place + 1 : place + 2], [*args[:place], *args[place + 2 :]]
    if not folder or folder[0].startswith("-"):
        raise UserError("--data: expected a folder of your own data (docs/how-to/datasets.md)")
    if "--weights-only" in args:
        check_config_files(config)
    options = options_of(load_config(config), folder[0], command)
    if "--cfg-options" in args:
        place = args.index("--cfg-options") + 1
        return [*args[:place], *options, *args[place:]]
    return [*args, "--cfg-options", *options]
