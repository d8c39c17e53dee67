"""Pictures as data URIs, small enough for a page."""

import base64
import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
LONGEST = 640  # pixels: the longer side of a photograph
WIDE = 1600  # of a strip of several panels
QUALITY = 82  # of JPEG


def data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def png_file(path: Path) -> str | None:
    """A PNG file as it is; None if it is not there or no PNG."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return data_uri(content, "png") if content.startswith(b"\x89PNG\r\n\x1a\n") else None


def photograph(name: str | None, near: Path, longest: int = LONGEST) -> str | None:
    """An image file as a JPEG of at most ``longest`` pixels a side; None if it cannot be read.

    Args:
        name: its path; a relative one is tried from the working folder, then from the folders above ``near``.
    """
    places = [start / name for start in (Path(), *near.resolve().parents)] if name else []
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError):
        return None
    image.thumbnail((longest, longest))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=QUALITY)
    return data_uri(written.getvalue(), "jpeg")


def indexed(labels: np.ndarray, colours: list[tuple[int, int, int]]) -> str:
    """A uint8 array (H, W) of indices as a PNG; an index without a colour is transparent."""
    table = np.zeros((256, 4), np.uint8)
    table[: len(colours[:255])] = [(*colour, 255) for colour in colours[:255]]
    image, written = Image.fromarray(labels), io.BytesIO()
    image.putpalette(table[:, :3].tobytes())
    image.save(written, "PNG", transparency=table[:, 3].tobytes(), optimize=True)
    return data_uri(written.getvalue(), "png")


def strips(folders: Iterable[Path | str], most: int) -> list[dict]:
    """The pictures in folders that ``ffc-dense predict`` wrote, ``most`` of each: ``title`` and ``src``.

    Raises:
        FileNotFoundError: a folder is missing or holds no picture; the message names it.
    """
    found = []
    for folder in map(Path, folders):
        paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise FileNotFoundError(f"--pictures: {folder} holds no picture; name what ffc-dense predict wrote")
        for path in paths[:most]:
            src = photograph(str(path), folder, WIDE)
            found.append({"title": f"{folder.resolve().name}/{path.name}", "src": src})
    return found
