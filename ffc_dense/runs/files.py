"""Read the files of a run; every error names the file."""

import ast
import json
import math
import os
from pathlib import Path


def is_number(value) -> bool:
    """Whether a value of a log is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_json(path: Path) -> dict:
    """The mapping in a JSON file.

    Raises:
        ValueError: it is no JSON, or no mapping.
    """
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}); evaluate again to write a new one") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON mapping, got {type(content).__name__}")
    return content


def read_json_lines(path: Path) -> list[dict]:
    """The mappings in a log of JSON lines. An incomplete last line, after a kill, is left out.

    Raises:
        ValueError: another line is no JSON mapping.
    """
    text = path.read_bytes().decode(errors="replace")
    lines = text.split("\n")
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):  # no newline after it
                break
            raise ValueError(f"{path}, line {number} is no valid JSON ({error}); remove the line") from error
        if not isinstance(entry, dict):
            raise ValueError(f"{path}, line {number}: expected a JSON mapping, got {type(entry).__name__}")
        entries.append(entry)
    return entries


def read_yaml(path: Path) -> dict:
    """The mapping in a yaml file, without running tags.

    Raises:
        ValueError: it is no yaml, or no mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no valid yaml: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a yaml mapping, got {type(content).__name__}")
    return content


def within_run(checkpoint: str | Path, folder: str | Path) -> dict[str, str]:
    """``{"checkpoint": path}``, relative to ``folder``, so that a record there stays valid when the run is moved.

    Empty for a checkpoint outside of ``folder`` and the folders above it.
    """
    place, here = Path(str(checkpoint).split("?")[0]).resolve(), Path(folder).resolve()
    if place.parent not in (here, *here.parents):
        return {}
    return {"checkpoint": os.path.relpath(place, here)}


def checkpoint_of(path: Path, record: dict) -> Path:
    """The checkpoint that ``record`` in the file ``path`` names; within a run relative to the file."""
    return path.resolve().parent / record["checkpoint"] if "checkpoint" in record else Path(record["weights"])


def read_dumped_config(path: Path) -> dict:
    """The variables of a config that mmengine dumped into a file, see :func:`dumped_variables`.

    Raises:
        ValueError: the file holds anything else.
    """
    return dumped_variables(path.read_text(errors="replace"), str(path))


def dumped_variables(text: str, source: str) -> dict:
    """The variables of a config that mmengine dumped, without running it.

    mmengine dumps only assignments of literals and ``dict(...)`` calls; ``Config.fromfile`` would execute the file.

    Args:
        source: of the text, for the message.

    Raises:
        ValueError: the text holds anything else.
    """
    try:
        tree = ast.parse(text)
        variables = {}
        for node in tree.body:
            if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
                raise ValueError(f"line {node.lineno} is no assignment to a name")
            variables[node.targets[0].id] = _value(node.value)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{source} is no config that mmengine dumped: {error}") from error
    return variables


def _value(node: ast.expr):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    return ast.literal_eval(node)
