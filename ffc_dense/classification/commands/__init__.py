"""MMPretrain's half of ``ffc-dense``."""

from ...openmmlab import commands


def script_of(command: str, config: str, kind: str, args: list[str]) -> tuple[str, list[str]]:
    """The module whose ``command`` runs, and its arguments, as in the other adapters."""
    return commands.script_of(__name__, command, config, args)
