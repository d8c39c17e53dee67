"""Words for what detectron2's yaml configs and LazyConfigs raise when they are wrong."""

import re
from collections.abc import Callable
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from ...errors import UserError
from ...errors.wording import (
    SEE_TRACEBACK,
    closest,
    describe,
    explain_argument,
    explain_file,
    first_lines,
    is_ours,
    unknown_argument,
    walk,
)
from ..model.config import add_ffc_config


def default_cfg() -> CfgNode:
    cfg = get_cfg()
    add_ffc_config(cfg)
    return cfg


# While a yaml config is read


def explain_yaml(error: Exception, where: str) -> str | None:
    """``where``: the file, or the command line, that the values come from."""
    text = first_lines(error)
    unknown = re.search(r"Non-existent (?:config )?key: (\S+)", text)
    if unknown:
        if unknown[1].startswith("--"):
            return f"{unknown[1]} in {where}: options come before the KEY VALUE pairs; move it there"
        return f"{unknown[1]} in {where}: there is no such key{_closest_key(unknown[1])}"
    pattern = r"Type mismatch \((.*?) vs\. (.*?)\) with values \((.*) vs\. (.*)\) for config key: (\S+)"
    mismatch = re.search(pattern, text)
    if mismatch:
        expected, got = (name.removeprefix("<class '").removesuffix("'>") for name in mismatch.group(1, 2))
        return f"{mismatch[5]} in {where}: expected {expected}, as {mismatch[3]}, got {got} {mismatch[4]}; correct it"
    if "Override list has odd length" in text:
        return f"{where}: expected pairs KEY VALUE, got an odd number of words; give every key one value: {text}"
    if isinstance(error, yaml.constructor.ConstructorError):
        return (
            f"{where}: a tag that is no plain value ({first_lines(error)}); write numbers, texts, lists and maps: "
            "files that make Python objects would run code and are not read"
        )
    if isinstance(error, yaml.YAMLError):
        return f"{where}: no valid yaml ({text}); correct the file"
    if isinstance(error, AssertionError) and "does not exist" in text:
        return f"{where}: there is no such file; correct the path"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{where}: its _BASE_ {error.filename} is not there; correct the path, which is relative to the file"
    if isinstance(error, AttributeError | TypeError | AssertionError):
        return f"{where}: expected KEY: VALUE pairs in sections, as in detectron2's configs ({text}); correct the file"
    return None


def _closest_key(key: str) -> str:
    if key == "MODEL.ROI_BOX_HEAD.FFC":
        return "; call ffc_dense.detection.add_ffc_config(cfg) before the config is read"
    known = [path for path, _ in walk(default_cfg())]
    parent, _, name = key.rpartition(".")
    siblings = [path.rpartition(".")[2] for path in known if path.rpartition(".")[0] == parent]
    found = closest(name, siblings)
    return f"{found} ({parent})" if found else closest(key, known) or "; remove it"


def explain_build(error: Exception, cfg: CfgNode) -> str | None:
    """An error while model, solver or datasets are built, with the changed keys whose values it speaks of."""
    if is_ours(error):
        return None
    text, defaults = first_lines(error), dict(walk(default_cfg()))
    changed = ((path, value) for path, value in walk(cfg) if value != defaults.get(path, value))
    suspects = [f"{path} {value!r}" for path, value in changed if _speaks_of(error, text, value)]
    if not suspects:
        return None
    return f"{' or '.join(suspects)} does not work: {describe(error).removesuffix(f'; {SEE_TRACEBACK}')}; correct it"


def _speaks_of(error: Exception, text: str, value: Any) -> bool:
    if isinstance(error, KeyError) and error.args and not isinstance(error.args[0], str):
        return value == error.args[0]
    return isinstance(value, str) and len(value) > 2 and re.search(rf"\b{re.escape(value)}\b", text) is not None


# LazyConfig


def explain_lazy_file(error: Exception, path: str) -> str | None:
    text = first_lines(error)
    if isinstance(error, SyntaxError) and error.lineno is None:
        return f"{text}; correct the config file"
    if isinstance(error, ImportError) and "does not exist" in text:
        return f"{path}: {text}; correct the relative import of its base"
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
        return f"{path}: {text}; correct the import"
    if isinstance(error, ValueError) and "has to be a python or yaml file" in text:
        return f"{path}: expected a LazyConfig, a .py file; correct the path"
    return explain_file(error) or f"{path}: {type(error).__name__}: {text}; correct the config file"


def explain_overrides(error: Exception, overrides: list[str]) -> str | None:
    wrong = [text for text in overrides if "=" not in text]
    if wrong:
        return f"{wrong[0]}: expected KEY=VALUE; a LazyConfig's overrides are written with ="
    return f"{' '.join(overrides)}: {first_lines(error)}; overrides are KEY=VALUE in hydra's syntax"


def check_overrides(cfg: DictConfig, overrides: list[str]) -> None:
    """Refuse ``KEY=VALUE`` where the config has no KEY; LazyConfig itself would add it, and nothing would read it.

    An argument of a class (a key beside ``_target_``) may be new. ``+KEY=VALUE`` adds a key on purpose.

    Raises:
        UserError: the message names the closest key.
    """
    for override in overrides:
        message = _unknown_override(cfg, override)
        if message:
            raise UserError(message)


def _unknown_override(cfg: DictConfig, override: str) -> str | None:
    key = override.partition("=")[0]
    if key.startswith("+"):
        return None
    *parents, name = key.split(".")
    node, path = cfg, ""
    for part in [*parents, name]:
        if OmegaConf.is_list(node):
            node = node[int(part)] if part.isdigit() and int(part) < len(node) else None
        elif not OmegaConf.is_dict(node) or ("_target_" in node and part not in node):
            return None
        elif part not in node:
            found = closest(part, node) or f"; there are {', '.join(map(str, node))}"
            return f"{key}: {path or 'the config'} has no {part!r}{found}; +{override} adds it"
        else:
            node = node[part]
        path = f"{path}.{part}" if path else part
    return None


def explain_lazy(error: Exception, cfg: DictConfig) -> str | None:
    """An error while the objects of a LazyConfig are built."""
    text = first_lines(error)
    if type(error).__name__ == "ConfigAttributeError" and "Missing key" in text:
        key = str(getattr(error, "full_key", None) or text.rpartition("Missing key ")[2])
        return f"{key}: the config has no such key; add it, as detectron2's configs/common have it"
    # Interpolations ("${..num_classes}") stay as they are: only names matter here.
    return explain_argument(error, OmegaConf.to_container(cfg, resolve=False), class_of_target)


def check_nodes(cfg: DictConfig) -> None:
    """Refuse classes that cannot be found and arguments that they do not take, before any is built.

    Raises:
        UserError: the message names the key.
    """
    tree = OmegaConf.to_container(cfg, resolve=False)
    for path, value in walk(tree):
        if path.endswith("_target_") and isinstance(value, str) and locate_or_none(value) is None:
            raise UserError(f"{path}: there is no {value}; correct the name, or install its package")
    message = unknown_argument(tree, class_of_target, "_target_")
    if message:
        raise UserError(message)


def class_of_target(value: Any) -> Callable | None:
    target = value.get("_target_") if isinstance(value, dict) else None
    return locate_or_none(target) if isinstance(target, str) else target if callable(target) else None


def locate_or_none(name: str) -> Any:
    try:
        return locate(name)
    except (ImportError, AttributeError, ValueError):
        return None
