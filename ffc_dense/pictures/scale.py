"""The size of a picture against the image that it shows."""

import argparse

READABLE = 800  # pixels of the longer side: smaller images are enlarged, so that labels leave the objects visible
LARGEST = 100.0  # a factor beyond any screen


def readable_scale(height: int, width: int, readable: int = READABLE) -> float:
    """The factor that enlarges an image until its longer side has ``readable`` pixels; 1 for larger ones."""
    return max(1.0, readable / max(height, width))


def add_scale_argument(parser: argparse.ArgumentParser) -> None:
    """``--scale FACTOR``; None if it is not given, see :func:`readable_scale`."""
    parser.add_argument("--scale", type=scale_factor, metavar="FACTOR",
                        help=f"size of a picture; default: small images are enlarged to {READABLE} pixels")  # fmt: skip


def scale_factor(text: str) -> float:
    """The type of ``--scale``."""
    wrong = argparse.ArgumentTypeError(f"expected a factor above 0 and up to {LARGEST:g}, got {text}")
    try:
        factor = float(text)
    except ValueError:
        raise wrong from None
    if not 0 < factor <= LARGEST:
        raise wrong
    return factor
