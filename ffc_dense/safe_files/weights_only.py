"""``--weights-only``: every given file must be data, in a format that cannot hold code."""

from argparse import ArgumentParser

from .digest import without_query
from .errors import UnsafeFileError


def add_weights_only_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--weights-only",
        action="store_true",
        help="refuse files that can hold code: Python configs, pickled weights (SECURITY.md)",
    )


def require_safetensors(path: str | None, key: str) -> None:
    """Refuse weights in another format than .safetensors, which cannot hold code. None and "" mean no weights.

    Raises:
        UnsafeFileError: names ``key`` and ``path``.
    """
    if path and not without_query(path).endswith(".safetensors"):
        raise UnsafeFileError(
            f"--weights-only: {key} {path} is not a .safetensors file; write one with "
            "python tools/convert_checkpoint.py FILE FILE.safetensors"
        )
