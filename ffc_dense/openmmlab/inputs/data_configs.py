"""``--weights-only`` for mmengine's configs: data files (.yaml, .json) that name nothing but registered classes."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import registry

from ...safe_files import UnsafeFileError, read_yaml, require_safetensors

PACKAGES = ("ffc_dense", "mmseg", "mmpretrain", "mmengine", "mmcv")
_TYPE = re.compile(rf"(({'|'.join(PACKAGES)})\.)?\w+")  # PSPHead, mmseg.PSPHead
_EVALUATES = ("RFSearchHook",)  # mmcv's: passes words of the config to eval()


def check_config_files(path: str | Path) -> None:
    """Refuse a config, or a base of it, that is or names a program. Reads the files, builds and imports nothing.

    Raises:
        UnsafeFileError: names the file and the key.
        FileNotFoundError: the file or a base of it is not there.
    """
    path = Path(path)
    if path.suffix not in (".yaml", ".yml", ".json"):
        target = path.with_suffix(".yaml")
        raise UnsafeFileError(
            f"--weights-only: {path} is a program. Where you trust it, write it as data: python -c "
            f"\"from mmengine.config import Config; Config.fromfile('{path}').dump('{target}')\""
        )
    if "{{" in path.read_text(encoding="utf-8", errors="replace"):
        raise UnsafeFileError(f"--weights-only: {path} has {{{{ }}}}, which changes the text; write the values out")
    content = _read(path)
    if not isinstance(content, dict):
        raise UnsafeFileError(f"--weights-only: {path} holds a {type(content).__name__}, expected keys and values")
    check_values(content, str(path))
    bases = content.get("_base_", [])
    for base in bases if isinstance(bases, list | tuple) else [bases]:
        if "::" in str(base):
            raise UnsafeFileError(f"--weights-only: {path}: _base_ {base} is a program of a package")
        check_config_files(path.parent / str(base))


def _read(path: Path) -> Any:
    if path.suffix != ".json":
        return read_yaml(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnsafeFileError(f"{path} is no JSON: {error}") from error


def check_values(config: Mapping | Config, where: str, *, weights: bool = False) -> None:
    """Refuse values that make mmengine import a module or call what they name.

    Args:
        where: what the config came from, for the message.
        weights: refuse files of weights that are not .safetensors too. For the config with its overrides.

    Raises:
        UnsafeFileError: names the key, in dots, and the value.
    """
    for key, name, value in _walk(config.to_dict() if isinstance(config, Config) else config, ""):
        fault = _fault(name, value)
        if fault:
            raise UnsafeFileError(f"--weights-only: {where}: {key}={value!r} {fault}")
        if weights and name in ("load_from", "checkpoint", "pretrained") and isinstance(value, str):
            require_safetensors(value, f"{where}: {key}")


def _fault(name: str, value: Any) -> str | None:
    if name == "imports":
        wanted = [value] if isinstance(value, str) else value
        foreign = [word for word in wanted or [] if str(word).split(".")[0] not in PACKAGES]
        return f"imports {foreign[0]}; only modules of {', '.join(PACKAGES)} may be named" if foreign else None
    if not isinstance(value, str):
        return None
    if name == "type" and (not _TYPE.fullmatch(value) or value.rpartition(".")[2] in _EVALUATES):
        return "is more than the name of a registered class; mmengine would import or evaluate it"
    if name in ("default_scope", "_scope_") and value not in PACKAGES:
        return f"makes mmengine import {value}; expected one of {', '.join(PACKAGES)}"
    if name == "decode_backend" and value == "pickle":
        return "unpickles the images; expected another decode_backend"
    return None


def _walk(node: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """(dotted key, last key, value) of all keys in dicts, at any depth."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            below = f"{path}.{key}" if path else str(key)
            yield below, str(key), value
            yield from _walk(value, below)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _walk(value, f"{path}.{index}")


def forbid_imports_by_name() -> None:
    """From now on a ``type`` that is not registered is an error. mmengine would import a module of that name."""
    registry.get_object_from_string = _refuse_import


def _refuse_import(name: str) -> None:
    raise UnsafeFileError(f"--weights-only: type={name!r} is not registered, and nothing is imported by its name")
