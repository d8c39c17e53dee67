"""detectron2's half of ``ffc-dense``: its arguments, as those of the scripts that detectron2's users know."""


def script_of(command: str, config: str, kind: str, args: list[str]) -> tuple[str, list[str]]:
    """The module whose ``command`` runs, and its arguments.

    Args:
        command: 'train', 'evaluate' or 'predict'.
        kind: of the config, see :func:`ffc_dense.frameworks.recognise`.
        args: what follows CONFIG on the command line of ``ffc-dense``; the checkpoint comes first.
    """
    given = ["--config-file", config]
    if command == "train":
        return f"{__name__}.{'train_lazy' if kind == 'lazy' else 'train'}", [*given, *args]
    checkpoint, rest = ("", args) if not args or args[0].startswith("-") else (args[0], args[1:])
    if command == "predict":
        return f"{__name__}.predict", [*given, *(["--weights", checkpoint] if checkpoint else []), *rest]
    weights = [f"train.init_checkpoint='{checkpoint}'"] if kind == "lazy" else ["MODEL.WEIGHTS", checkpoint]
    return f"{__name__}.evaluate", [*given, *rest, *(weights if checkpoint else [])]
