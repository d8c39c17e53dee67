from pathlib import Path
from typing import Any

import yaml

from .errors import UnsafeFileError


def read_yaml(path: str | Path) -> Any:
    """The content of a yaml file, by ``yaml.safe_load``: ``!!python`` tags, which call what they name, are refused.

    Raises:
        UnsafeFileError: the file has such a tag, or is no yaml; the message has the line.
        OSError: it cannot be opened.
    """
    with open(path, encoding="utf-8") as file:
        try:
            return yaml.safe_load(file)
        except yaml.constructor.ConstructorError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            raise UnsafeFileError(
                f"{path}, line {line}: {error.problem}. A yaml config is data and may not name Python objects; write "
                "the plain value"
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UnsafeFileError(f"{path} is no yaml: {error}") from error
