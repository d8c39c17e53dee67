"""Which framework on mmengine a config is for, from its text: nothing in the file runs. Standard library alone."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGES = {"ffc_dense.segmentation": "mmseg", "ffc_dense.classification": "mmpretrain"}
SCOPES = ("mmseg", "mmpretrain")


def mmengine_scope(path: Path, above: tuple[Path, ...] = ()) -> str:
    """The ``default_scope`` of a config, as mmengine finds it: the file's own before those of its bases.

    Without one, what the file and then its bases import (``custom_imports``, ``from mmpretrain.models import ...``) or
    inherit (``_base_ = 'mmpretrain::...'``). '' if they say nothing.

    Args:
        above: files whose bases these are, so that a circle ends.
    """
    said = _said(path)
    if said["default_scope"]:
        return said["default_scope"][0]
    bases = [base for base in said["_base_"] if "::" not in base]
    places = [place for base in bases if (place := path.parent / base).is_file() and place not in (path, *above)]
    inherited = [mmengine_scope(place, (path, *above)) for place in places]
    words = [*said["imports"], *(base.partition("::")[0] for base in said["_base_"] if "::" in base)]
    return next((scope for word in words if (scope := _scope_of(word))), "") or next(filter(None, inherited), "")


def _scope_of(word: str) -> str:
    """'mmpretrain.models' and 'ffc_dense.classification' -> 'mmpretrain'."""
    root = word.partition(".")[0]
    return root if root in SCOPES else PACKAGES.get(".".join(word.split(".")[:2]), "")


def _said(path: Path) -> dict[str, list[str]]:
    """The words of a file's ``default_scope`` and ``_base_``, and what it imports."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".py":
        try:
            return _of_python(ast.parse(text))
        except SyntaxError:
            return dict(default_scope=[], _base_=[], imports=[])  # the framework says where
    if path.suffix == ".json":
        try:
            content = json.loads(text)
        except ValueError:
            content = {}
        content = content if isinstance(content, dict) else {}
        return {key: list(_words(content.get(key))) for key in ("default_scope", "_base_")} | {
            "imports": list(_words(content.get("custom_imports")))
        }
    sections = dict(re.findall(r"^([A-Za-z_]+):((?:.*)(?:\n[ \t-].*)*)", text, re.MULTILINE))
    found = {key: re.findall(r"[\w./:-]*\w", sections.get(key, "")) for key in ("default_scope", "_base_")}
    return found | {"imports": re.findall(r"[\w.]*\w", sections.get("custom_imports", ""))}


def _of_python(tree: ast.Module) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"default_scope": [], "_base_": [], "custom_imports": []}
    for node in tree.body:
        names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        for name in names:
            if name in found:
                strings = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
                found[name] = [word for word in strings if isinstance(word, str)]
    bases = [_path_of(name) for name in _read_bases(tree)]
    return {
        "default_scope": found["default_scope"],
        "_base_": [*found["_base_"], *bases],
        "imports": [*found["custom_imports"], *imported_modules(tree)],
    }


def imported_modules(tree: ast.Module) -> list[str]:
    """What a module imports at its top level, '.base' for a neighbour.

    mmengine's pure Python configs import their bases below ``with read_base():``, which is no top level.
    """
    modules = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            modules.append("." * node.level + (node.module or ""))
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return modules


def _read_bases(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.With):
            yield from (each for each in imported_modules(ast.Module(node.body, [])) if each.startswith("."))


def _path_of(module: str) -> str:
    """'.base' -> './base.py', '..models.base' -> '../models/base.py'."""
    name = module.lstrip(".")
    return "/".join([".", *[".."] * (len(module) - len(name) - 1), *name.split(".")]) + ".py"


def _words(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _words(each)
