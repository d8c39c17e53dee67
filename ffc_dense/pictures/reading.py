"""Reading one image or label file. Every failure has a readable message."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Pillow's decoders raise all of these on damaged files; SyntaxError is what its PNG reader says of a broken chunk.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
ORIENTATION = 0x0112  # EXIF tag
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".gif")


class UnreadableError(ValueError):
    """The file cannot be decoded; the message says why."""


def _open(path: str) -> Image.Image:
    warnings.simplefilter("ignore")  # odd EXIF blocks and large images are no faults
    return Image.open(path)


def _reason(path: str, error: Exception) -> str:
    try:
        if Path(path).stat().st_size == 0:
            return "the file is empty (0 bytes)"
    except OSError as failure:
        return f"the file cannot be opened ({failure.strerror})"
    if isinstance(error, Image.UnidentifiedImageError):
        return "the file is no image that Pillow knows"
    return f"the file cannot be decoded ({error})"


# The last bytes of every whole file. Others follow in a few good files, so that a missing end is a reason to decode.
ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}


def _ends_well(path: str, image_format: str | None) -> bool:
    end = ENDS.get(image_format or "")
    if end is None:
        return True
    with open(path, "rb") as file:
        file.seek(-len(end), os.SEEK_END)
        return file.read() == end


def check_kind(image: object) -> None:
    """Refuse what is neither a file's name nor an array.

    Raises:
        TypeError: the message says how to make an array of it.
    """
    if not isinstance(image, str | Path | np.ndarray):
        raise TypeError(
            f"expected a file name or a (H, W, 3) uint8 array in BGR order, got {type(image).__module__}."
            f"{type(image).__name__}; of a PIL image np.asarray(image.convert('RGB'))[:, :, ::-1] makes one"
        )


def read_size(path: str, decode: bool) -> tuple[int, int, int]:
    """(width, height, EXIF orientation) of an image, the size being that after its EXIF orientation.

    Args:
        decode: decode all pixels, which finds every damage; else read the header and the end of the file, and decode
            only where a PNG or JPEG does not end as it should, which finds truncated files.

    Raises:
        UnreadableError: the file cannot be read.
    """
    try:
        with warnings.catch_warnings(), _open(path) as image:
            if decode or not _ends_well(path, image.format):
                image.load()
            # Of a PNG, Pillow decodes all pixels to look for EXIF data behind them.
            before_pixels = image.format != "PNG" or "exif" in image.info
            orientation = image.getexif().get(ORIENTATION, 1) if decode or before_pixels else 1
            width, height = image.size
    except DAMAGED as error:
        raise UnreadableError(_reason(path, error)) from error
    if orientation in (5, 6, 7, 8):  # detectron2 turns the image so before it compares the sizes
        width, height = height, width
    return width, height, orientation


def read_label(path: str) -> np.ndarray:
    """The numbers of a label image as they are stored: (H, W), or (H, W, channels) if it has colours.

    Raises:
        UnreadableError: the file cannot be read.
    """
    try:
        with warnings.catch_warnings(), _open(path) as image:
            return np.asarray(image)  # of a palette image: the indices, as mmseg reads it
    except DAMAGED as error:
        raise UnreadableError(_reason(path, error)) from error


def read_bgr(path: str) -> np.ndarray:
    """An image as both frameworks take it: (H, W, 3) uint8, BGR, turned as its EXIF orientation says.

    Raises:
        UnreadableError: the file cannot be read, or has pixels of more than 8 bits, which would be cut off.
    """
    try:
        with warnings.catch_warnings(), _open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise UnreadableError(f"the image has pixels of {image.mode!r}, more than 8 bits; convert it to 8 bits")
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except UnreadableError:
        raise
    except DAMAGED as error:
        raise UnreadableError(_reason(path, error)) from error
    return np.ascontiguousarray(rgb[:, :, ::-1])
