"""MMSegmentation's half of ``ffc-dense``."""

from ...openmmlab import commands


def arguments(command: str, config: str, args: list[str]) -> list[str]:
    """``args`` with ``--data FOLDER`` as overrides of the config; the user's own overrides come after them.

    Raises:
        UserError: see :func:`.own_data.own_data_options`.
    """
    if "--data" not in args:
        return args
    from ...errors import UserError
    from ...openmmlab.inputs.data_configs import check_config_files
    from ...openmmlab.inputs.read_config import load_config
    from ..inputs.own_data import own_data_options

    place = args.index("--data")
    folder, args = args[place + 1 : place + 2], [*args[:place], *args[place + 2 :]]
    if not folder or folder[0].startswith("-"):
        raise UserError("--data: expected a folder with images/, masks/ and classes.txt")
    if "--weights-only" in args:
        check_config_files(config)
    options = own_data_options(load_config(config), folder[0], command)
    if "--cfg-options" in args:
        place = args.index("--cfg-options") + 1
        return [*args[:place], *options, *args[place:]]
    return [*args, "--cfg-options", *options]


def script_of(command: str, config: str, kind: str, args: list[str]) -> tuple[str, list[str]]:
    """The module whose ``command`` runs, and its arguments, as in the other adapters."""
    return commands.script_of(__name__, command, config, args)
