"""Markdown tables, and JSON without NaN, which JSON does not know."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import CannotWrite
from .reliability.saving import NotSaved, write_text_atomically


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join([row(head), "|" + "---|" * len(head), *map(row, rows)])


def row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def without_nan(node: Any) -> Any:
    """``node`` with None in the place of NaN, which stands for the score of a class that a dataset does not have."""
    if isinstance(node, dict):
        return {key: without_nan(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_nan(value) for value in node]
    return None if isinstance(node, float) and math.isnan(node) else node


def write_json(value: Any, path: str | Path) -> None:
    """Write ``value`` as JSON, without NaN. The file is replaced as a whole, as checkpoints are."""
    write_text_atomically(json.dumps(without_nan(value), indent=1) + "\n", path)


def write_json_option(option: str, value: Any, path: str | Path) -> None:
    """:func:`write_json` to the path that a command's option names.

    Raises:
        CannotWrite: the message names option, file and cause.
    """
    try:
        write_json(value, path)
    except NotSaved as error:
        cause = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise CannotWrite(f"{option}: {path} cannot be written: {cause}") from error
