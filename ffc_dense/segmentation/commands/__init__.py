"""MMSegmentation's half of ``ffc-dense``."""


def script_of(command: str, config: str, kind: str, args: list[str]) -> tuple[str, list[str]]:
    """The module whose ``command`` runs, and its arguments, as in the other adapters."""
    if command != "train":
        return f"{__name__}.{command}", [config, *args]
    device = []
    if "--device" in args:  # of tools/mmseg_tool.py, the others are those of mmseg's own train.py
        place = args.index("--device")
        device, args = args[place : place + 2], [*args[:place], *args[place + 2 :]]
    return "ffc_dense.openmmlab.commands.scripts", [*device, "train", config, *args]
