"""The sha256 of a file, compared before the file is read."""

import hashlib
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from ..errors import UserError


class DigestError(UserError, RuntimeError):
    """A file has another sha256 than expected, or the expected sha256 is malformed."""


def sha256_of(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def without_query(path: str) -> str:
    """``PATH?sha256=HEX&...`` -> PATH; a path without a query is returned unchanged."""
    return path.partition("?")[0]


def split_sha256(path: str) -> tuple[str, str | None]:
    """``PATH?sha256=HEX`` -> (PATH, HEX); other parts of the query are kept.

    Raises:
        DigestError: HEX is not 64 hexadecimal digits, nor the first 8 or more of them.
    """
    plain, mark, query = path.partition("?")
    parts = parse_qsl(query, keep_blank_values=True)
    given = [value.lower() for key, value in parts if key == "sha256"]
    if not mark or not given:
        return path, None
    if len(given) > 1 or not re.fullmatch(r"[0-9a-f]{8,64}", given[0]):
        raise DigestError(
            f"{path}: expected ?sha256= with the 64 hexadecimal digits of sha256sum, or the first 8 or more"
        )
    rest = [(key, value) for key, value in parts if key != "sha256"]
    return plain + (f"?{urlencode(rest)}" if rest else ""), given[0]


def check_digest(path: str | Path, expected: str | None = None, warn: Callable[[str], None] = warnings.warn) -> None:
    """Compare ``path`` with ``expected``, with the file ``path.sha256`` if it exists, and with its own name.

    Args:
        expected: sha256 in hexadecimal, or its first digits. None: none was given.
        warn: is called with the warning.

    ``sha256sum NAME > NAME.sha256`` writes ``path.sha256``. The names of PyTorch's and OpenMMLab's files end in ``-``
    and the first eight digits. Such an end can also be a date, so a difference there is only a warning.

    Raises:
        DigestError: the sha256 differs; the message has both.
        FileNotFoundError: there is no file ``path``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; expected a checkpoint")
    beside = path.with_name(path.name + ".sha256")
    in_name = re.search(r"-([0-9a-f]{8})$", path.stem)
    if not (expected or beside.is_file() or in_name):
        return
    found = sha256_of(path)
    if expected and not found.startswith(expected):
        raise DigestError(f"{path} is not the expected file: its sha256 is {found}, not {expected}. Fetch it again")
    if beside.is_file():
        written = _written_in(beside)
        if found != written:
            raise DigestError(
                f"{path} is not the file that {beside.name} was written for: its sha256 is {found}, not {written}. "
                f"Fetch it again, or delete {beside.name} if you changed the file yourself"
            )
    if in_name and not found.startswith(in_name[1]):
        warn(f"the sha256 of {path} begins with {found[:8]} and not as its name says; is it damaged?")


def _written_in(path: Path) -> str:
    digits = path.read_text(errors="replace").split()[:1]
    if not digits or not re.fullmatch(r"[0-9a-fA-F]{64}", digits[0]):
        raise DigestError(f"{path}: expected what sha256sum writes, 64 hexadecimal digits and the name of the file")
    return digits[0].lower()
