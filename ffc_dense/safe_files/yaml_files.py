from pathlib import Path
from typing import IO, Any

import yaml

from .errors import UnsafeFileError


class DataLoader(yaml.SafeLoader):
    """yaml's safe loader, with the tuples of mmengine's dumped configs: ``!!python/tuple [512, 1024]``."""


DataLoader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


def read_yaml(path: str | Path) -> Any:
    """The content of a yaml file. Tags of Python objects (``!!python/object`` ...) are refused, apart from tuples.

    Raises:
        UnsafeFileError: the file has such a tag, or is not valid yaml; the message has the line.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        return parse_yaml(file, path)


def parse_yaml(file: IO, name: str | Path) -> Any:
    """As :func:`read_yaml`, for an open file; ``name`` is for the messages."""
    try:
        return yaml.load(file, DataLoader)
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise UnsafeFileError(
            f"{name}, line {line}: {error.problem}. A yaml config is data and may not name Python objects; write the "
            "plain value"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnsafeFileError(f"{name} is no yaml: {error}") from error
