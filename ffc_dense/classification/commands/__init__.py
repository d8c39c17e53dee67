"""MMPretrain's half of ``ffc-dense``."""

from ...openmmlab import commands


def arguments(command: str, config: str, args: list[str]) -> list[str]:
    """``args`` with ``--data FOLDER`` as overrides of the config; the user's own overrides come after them.

    Raises:
        UserError: see :func:`.own_data.own_data_options`.
    """
    return commands.with_own_data(__name__, command, config, args, "train/ and val/, a folder per class in each")


def script_of(command: str, config: str, kind: str, args: list[str]) -> tuple[str, list[str]]:
    """The module whose ``command`` runs, and its arguments, as in the other adapters."""
    return commands.script_of(__name__, command, config, args)
