"""Readable error messages for invalid configs: the key, what was expected, and what to write instead.

A *node* is a dict of a config with a class to build (``type`` in mmengine, ``_target_`` in LazyConfig) and its
arguments. A *path* is the dotted key of a node or value, such as ``model.decode_head.num_filters``.
"""

import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]  # ffc_dense

SEE_TRACEBACK = "--debug shows the traceback"


def closest(name: str, choices: Iterable[str]) -> str:
    """'; did you mean X?', or '' if no choice is similar to ``name``."""
    choices = sorted({str(choice) for choice in choices})
    by_lower = {choice.lower(): choice for choice in choices}
    found = get_close_matches(name, choices, 1, 0.6) or get_close_matches(name.lower(), by_lower, 1, 0.6)
    return f"; did you mean {by_lower.get(found[0], found[0])}?" if found else ""


def one_of(name: str, choices: Iterable[str]) -> str:
    """The closest choice, or all of them."""
    choices = list(choices)
    return closest(name, choices) or f"; there are {', '.join(map(str, choices))}"


def first_lines(error: Exception, most: int = 300) -> str:
    """The text of an error in one line."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(text).split())
    return text if len(text) <= most else f"{text[:most]} ..."


def is_ours(error: Exception) -> bool:
    """Whether this package raised the error, so that its text is written for users."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and PACKAGE in Path(frames[-1].filename).parents


def describe(error: Exception) -> str:
    """The text of our own errors; the type, text and place of others."""
    if is_ours(error):
        return str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    frames = traceback.extract_tb(error.__traceback__)
    place = ""
    if frames:
        last = frames[-1]
        place = f" (in {'/'.join(Path(last.filename).parts[-3:])}, line {last.lineno}, {last.name})"
    return f"{type(error).__name__}: {first_lines(error)}{place}; {SEE_TRACEBACK}"


def walk(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every value below ``tree``, a node before its content."""
    if isinstance(tree, Mapping):
        children: Iterable = list(tree.items())
    elif isinstance(tree, list | tuple):
        children = enumerate(tree)
    else:
        return
    for key, value in children:
        below = f"{path}.{key}" if path else str(key)
        yield below, value
        yield from walk(value, below)


def parameters(kind: Callable) -> list[str]:
    """Names of the arguments of a function, or of a class and the bases it passes arguments on to."""
    return _parameters(kind)[0]


def _parameters(kind: Callable) -> tuple[list[str], bool]:
    """Names as in :func:`parameters`, and whether there can be more, through ``**kwargs``."""
    functions = [vars(base).get("__init__") for base in kind.__mro__] if inspect.isclass(kind) else [kind]
    names: dict[str, None] = {}
    for function in functions:
        if function is None:
            continue
        try:
            found = inspect.signature(inspect.unwrap(function)).parameters.values()
        except (TypeError, ValueError):  # written in C
            return list(names), True
        usual = [p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "self"]
        names |= dict.fromkeys(usual)
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            return list(names), False
    return list(names), True


def unknown_argument(tree: Any, class_of: Callable[[Any], Callable | None], reserved: str) -> str | None:
    """The message for the first argument in the config that its class does not take. Nothing is built.

    Args:
        tree, class_of: as in :func:`explain_argument`.
        reserved: the key of a node that names its class.
    """
    for path, value in walk(tree):
        kind = class_of(value)
        names, more = _parameters(kind) if kind is not None else ([], True)
        for name in () if more else value:
            if name != reserved and name not in names:
                remedy = closest(name, names) or f"; it takes {', '.join(names)}"
                return f"{path}.{name}: {_name(kind)} has no argument {name!r}{remedy}"
    return None


def _name(kind: Callable) -> str:
    return getattr(kind, "__name__", str(kind))


def explain_argument(error: Exception, tree: Any, class_of: Callable[[Any], Callable | None]) -> str | None:
    """The message for an argument that a class of the config does not know or refuses.

    Args:
        tree: the config, of dicts and lists.
        class_of: the class of a node; None for other values.
    """
    text = first_lines(error)
    nodes = [(path, value, kind) for path, value in walk(tree) if (kind := class_of(value)) is not None]
    if isinstance(error, TypeError):
        unknown = re.search(r"([\w.]+)\(\) got an unexpected keyword argument '(\w+)'", text)
        if unknown:
            return _unknown_argument(unknown[1], unknown[2], nodes)
    if isinstance(error, ValueError | TypeError):
        named = re.match(r"(\w+) (must|should|has to) ", text)
        paths = [f"{path}.{named[1]}" for path, value, _ in nodes if named[1] in value] if named else []
        if paths:
            return f"{' or '.join(paths)}: {text}; correct it in the config"
    return None


def _unknown_argument(function: str, name: str, nodes: list) -> str:
    holders = [(path, kind) for path, value, kind in nodes if name in value]
    built = [(path, kind) for path, kind in holders if _is_or_extends(kind, function)]
    # A class outside of the tree, such as a wrapper that a script adds, says nothing about those that take the name.
    others = [(path, kind) for path, kind in holders if name not in parameters(kind)]
    path, kind = next(iter(built or others), ("", None))
    if kind is None:
        return f"{function} has no argument {name!r}; remove it from the config"
    known = parameters(kind)
    remedy = closest(name, known) or f"; it takes {', '.join(known)}"
    return f"{path}.{name}: {_name(kind)} has no argument {name!r}{remedy}"


def _is_or_extends(kind: Callable, function: str) -> bool:
    """Whether ``function``, as 'PSPHead.__init__', belongs to ``kind`` or to a class that it extends."""
    owner = function.split(".")[0]
    names = [base.__name__ for base in kind.__mro__] if inspect.isclass(kind) else [getattr(kind, "__name__", "")]
    return owner in names or function == "__init__"


def explain_file(error: Exception) -> str | None:
    """The message for a config file that is missing or is not valid Python."""
    if isinstance(error, SyntaxError):
        if error.lineno is None:
            return f"{first_lines(error)}; correct the config file"
        source = f": {error.text.strip()}" if error.text else ""
        return f"{error.filename}, line {error.lineno}: {error.msg}{source}; correct the config file"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no file {error.filename}; correct the path"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module named {error.name!r}, which the config imports; install it, or correct the name"
    return None
