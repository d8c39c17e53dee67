"""MMPretrain's half of ``ffc-dense``."""

from ...openmmlab import commands


def arguments(command: str, config: str, args: list[str]) -> list[str]:
    """A command line with ``--data FOLDER`` -> one with overrides of the config, see :func:`own_data_options`."""
    from ..inputs.own_data import own_data_options

    return commands.with_own_data(command, config, args, own_data_options)


def script_of(command: str, config: str, kind: str, args: list[str]) -> tuple[str, list[str]]:
    """The module whose ``command`` runs, and its arguments, as in the other adapters."""
    return commands.script_of(__name__, command, config, args)
