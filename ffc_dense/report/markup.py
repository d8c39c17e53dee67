"""HTML and SVG elements in which every string is escaped unless it was made here."""

from collections.abc import Iterable
from html import escape

VOID = {"br", "input", "meta", "img"}


class Markup(str):
    """HTML that is inserted as it is. Only :func:`tag`, :func:`join` and the package's own assets make one."""

    __slots__ = ()


def tag(name: str, /, *children, **attributes) -> Markup:
    """``<name attributes>children</name>``.

    Args:
        *children: Markup, other strings and numbers (escaped), None (nothing), or iterables of these.
        **attributes: ``class_`` and the like lose their trailing underscore, other underscores become hyphens. None and
            False leave an attribute out, True writes its name alone.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable) -> Markup:
    """The children one after the other, by the rules of :func:`tag`."""
    return Markup("".join(_child(child) for child in children))


def _child(child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int | float):
        return escape(str(child))
    return join(child)


def _attribute(key: str, value) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{escape(str(value))}"'
