"""What the adapters of mmengine's frameworks have in common in ``ffc-dense``."""


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
