"""Readable messages for what mmengine raises when a config is wrong."""

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import mmengine.registry
import mmengine.registry.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner.base_loop import BaseLoop

from ...errors.wording import closest, explain_argument, explain_file, first_lines, walk


def in_a_loop(trace: TracebackType) -> bool:
    """Whether an error happened while iterations ran: it may be a bug then, and its traceback is needed."""
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "run" and isinstance(frame.f_locals.get("self"), BaseLoop):
            return True
        trace = trace.tb_next
    return False


def explain_config(error: Exception, path: str) -> str | None:
    """An error while the file ``path``, or one of its ``_base_``, is read."""
    text = first_lines(error)
    if isinstance(error, FileNotFoundError):
        missing = error.filename or re.sub(r"file .(.*). does not exist", r"\1", text.removeprefix("[Errno 2] "))
        if Path(missing).name == Path(path).name:
            return f"there is no config file {missing}; correct the path"
        return f"{path}: there is no {missing}; correct its _base_, which is relative to the file"
    if isinstance(error, SyntaxError):
        return f"{text if path in text else f'{path}: {text}'}; correct the config file"
    if isinstance(error, KeyError) and "Duplicate key" in text:
        return f"{path}: {text}; name one base for each key, or delete one of the bases"
    if isinstance(error, ImportError) and "custom modules" in text:
        cause = error.__cause__ or error.__context__
        return (
            f"{path}: custom_imports {error.args[0].splitlines()[0].partition('from ')[2].partition(', the')[0]}: "
            f"{first_lines(cause) if cause else text}; correct the module's name, or set PYTHONPATH"
        )
    if isinstance(error, ModuleNotFoundError) and not error.name:  # mmengine's own, for _base_ = 'PACKAGE::...'
        return f"{path}: _base_: {text}; install it, or name a file"
    if isinstance(error, OSError) and "Only py/yml" in text:
        return f"{path}: expected a config, a .py file; correct the path"
    return explain_file(error) or f"{path}: {type(error).__name__}: {text}; correct the config file"


def explain_options(error: Exception, options: Mapping[str, Any]) -> str:
    """An error while ``--cfg-options`` are merged."""
    return f"--cfg-options {', '.join(options)}: {first_lines(error)}; correct the key or the value"


def explain_build(error: Exception, cfg: Config) -> str | None:
    """An error before the first iteration, while models, datasets, hooks and so on are built from ``cfg``."""
    text = first_lines(error)
    tree = cfg.to_dict()
    unregistered = re.search(r"([\w.]+) is not in the (\S+)::(.+?) registry", text)
    if unregistered:
        return unregistered_type(unregistered[1], unregistered[3], tree)
    if isinstance(error, KeyError) and 'must contain the key "type"' in text:
        return f"a part of the config has no type, so nothing can be built from it; add type=... to {text[-200:]}"
    found = explain_argument(error, tree, class_of)
    if found:
        return found
    if isinstance(error, FileNotFoundError) and error.filename:
        paths = [
            path
            for path, value in walk(tree)
            if isinstance(value, str) and len(value) > 1 and str(error.filename).startswith(value)
        ]
        keys = f"{paths[0]}: " if paths else ""
        return f"{keys}there is no {error.filename}; correct the path, or put the file there"
    if isinstance(error, AttributeError) and (key := re.search(r"ConfigDict' object has no attribute '(\w+)'", text)):
        return f"{key[1]}: the config has no such key; add it"
    return None


def unregistered_type(name: str, registry: str, tree: Any) -> str:
    """The message for a name that the config's scope does not have; ``registry`` says what it should have been."""
    paths = [f"{path}.type" for path, value in walk(tree) if isinstance(value, dict) and value.get("type") == name]
    where = paths[0] if paths else registry
    owner = _owner(name, tree)
    remedy = closest(name, class_names()) or "; name its module in custom_imports, or correct the name"
    if owner is not None:
        remedy = f" in this scope; set default_scope={owner!r}, or write {owner}.{name}"
    return f"{where}: no {registry} is registered as {name!r}{remedy}"


def _owner(name: str, tree: Any) -> str | None:
    """The scope that has ``name``; of several, the one that has most of the other names in the config."""
    names = [value["type"] for _, value in walk(tree) if isinstance(value, dict) and isinstance(value.get("type"), str)]
    known = Counter(one.partition(".")[0] for one in names if "." in one)
    known.update(each.scope for each in registries() for one in names if one in each.module_dict)
    owners = [each.scope for each in registries() if name in each.module_dict]
    return max(owners, key=known.__getitem__, default=None)


def registries() -> Iterator[Registry]:
    """mmengine's registries, each after those of the frameworks that are imported: mmseg's, mmpretrain's, ..."""
    for root in vars(mmengine.registry).values():
        if isinstance(root, Registry):
            yield from root.children.values()
            yield root


def class_names() -> set[str]:
    """Everything that the registries of mmengine and of the imported frameworks hold."""
    return {name for registry in registries() for name in registry.module_dict}


def class_of(value: Any) -> Callable | None:
    """What mmengine builds from a node of a config: its ``type`` is a class, a registered name, with or without the
    scope before it (``mmseg.PSPHead``), or the path of an object (``torch.optim.AdamW``), whose module is imported.
    """
    kind = value.get("type") if isinstance(value, Mapping) else None
    if isinstance(kind, str):
        kind = _found(kind)
    return kind if callable(kind) else None


def type_name(value: Any) -> str:
    """The name of the class in a node of a config, however its ``type`` is written; '' if it has none."""
    kind = value.get("type", "") if isinstance(value, Mapping) else ""
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", "")


def _found(name: str) -> Any:
    scope, dot, bare = name.partition(".")
    if not dot:
        return next((found for each in registries() if (found := each.module_dict.get(name)) is not None), None)
    found = _in_scope(scope, bare)
    if found is None:
        # By the name in mmengine's module, which --weights-only replaces.
        found = mmengine.registry.registry.get_object_from_string(name)
    if found is None:  # of a framework that nothing has imported yet
        with suppress(ImportError):
            importlib.import_module(f"{scope}.registry")
            for each in registries():
                if each.scope == scope:
                    each.import_from_location()
        found = _in_scope(scope, bare)
    return found


def _in_scope(scope: str, name: str) -> Any:
    of_scope = (each.module_dict.get(name) for each in registries() if each.scope == scope)
    return next((found for found in of_scope if found is not None), None)
