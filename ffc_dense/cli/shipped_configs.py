"""The configs that come with the package, found by name from any folder: ``coco/faster_rcnn_R_50_FPN_1x_ffc.yaml``."""

from difflib import get_close_matches
from pathlib import Path

from ..errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]


def folder() -> Path:
    """``configs`` of a clone, or where the wheel has them (``.mim/configs``, as in the wheels of OpenMMLab)."""
    clone = PACKAGE.parent / "configs"
    return clone if (PACKAGE.parent / "pyproject.toml").is_file() else PACKAGE / ".mim" / "configs"


def shipped() -> list[str]:
    """The names of all configs that train: bases are left out."""
    found = (path.relative_to(folder()) for path in folder().glob("*/*.*") if path.suffix in (".yaml", ".py"))
    return sorted(str(name) for name in found if name.parts[0] != "_base_" and not name.name.startswith("Base"))


def config_path(name: str) -> Path:
    """The file of ``name``: an existing path, else a shipped config, with or without ``configs/`` before it.

    Raises:
        UserError: there is no such file; the message names the closest shipped configs.
    """
    path = Path(name)
    if path.is_file():
        return path
    below = folder() / name.removeprefix("configs/")
    if below.is_file():
        return below
    near = get_close_matches(name, shipped(), 3, 0.4)
    hint = f"; the closest shipped configs are {', '.join(near)}" if near else ""
    raise UserError(f"{name}: there is no such file, and no shipped config of this name{hint}")
