"""Which framework a config belongs to, for the tools that serve both."""

import re
from pathlib import Path

from ffc_dense.errors import UserError
from ffc_dense.safe_files import without_query

LAZY = re.compile(r"LazyCall|LazyConfig|^(from|import) +detectron2|model_zoo", re.MULTILINE)


def framework_of(config: str, checkpoint: str, overrides: list[str], cfg_options: list[str] | None) -> str:
    """'detectron2' or 'mmseg', by the config.

    Args:
        config: detectron2's yaml or mmseg's Python file.
        checkpoint: a file; ``?sha256=HEX`` may follow.
        overrides: detectron2's KEY VALUE pairs.
        cfg_options: mmseg's KEY=VALUE pairs.

    Raises:
        UserError: the config or the checkpoint is not there, the config is a LazyConfig, or the overrides are those of
            the other framework.
    """
    path = Path(config)
    for file, what in ((path, "config"), (Path(without_query(checkpoint)), "checkpoint")):
        if not file.is_file():
            raise UserError(f"the {what} {file} is not a file")
    if path.suffix in (".yaml", ".yml"):
        if cfg_options:
            raise UserError(f"--cfg-options are for mmseg, {path} is detectron2's: write KEY VALUE instead")
        return "detectron2"
    if path.suffix != ".py":
        raise UserError(f"{path}: expected detectron2's .yaml or mmseg's .py")
    if LAZY.search(path.read_text(errors="replace")):
        raise UserError(f"{path} is a detectron2 LazyConfig: name its yaml twin, which has the same parameter names")
    if overrides:
        raise UserError(f"{' '.join(overrides)}: {path} is mmseg's, write --cfg-options KEY=VALUE instead")
    return "mmseg"
