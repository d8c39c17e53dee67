"""Where weights lie: a path, or an address whose file is downloaded into torch's cache, as mmengine does."""

import os
import re
from pathlib import Path

import torch
from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models, get_torchvision_models

from ..training.main_process import from_main

REMEDY = "docs/how-to/weights.md says where it comes from; or set model.pretrained=/path/to/file (None: random weights)"


def is_remote(checkpoint: str) -> bool:
    return re.match(r"[\w+:-]+://", checkpoint) is not None


def local_path(checkpoint: str, key: str) -> Path | None:
    """Where the file of ``checkpoint`` lies, after a download if need be. None: a scheme that mmengine alone can read.

    Args:
        checkpoint: a path, an ``open-mmlab://`` or ``torchvision://`` name or an http(s) address.
        key: the config key that names it, for the messages.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be downloaded.
        UserError: the main process cannot download it.
        ValueError: mmengine knows no such name.
    """
    if not is_remote(checkpoint):
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{key}: there is no file {path}; {REMEDY}")
        return path
    scheme, _, name = checkpoint.partition("://")
    if scheme in ("open-mmlab", "openmmlab"):
        url = get_external_models().get(get_deprecated_model_names().get(name, name))
    elif scheme in ("torchvision", "modelzoo"):
        url = get_torchvision_models().get(name)
    elif scheme in ("http", "https"):
        url = checkpoint
    else:
        return None
    if url is None:
        raise ValueError(f"{key}: mmengine knows no weights {checkpoint}; {REMEDY}")
    if not is_remote(url):
        return None  # a file that the user's own open_mmlab.json names
    path = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)
    from_main(_download, url, path, key)
    _download(url, path, key)  # ranks on another machine, which has a cache of its own
    return path


def _download(url: str, path: Path, key: str) -> None:
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as error:  # no network, an HTTP error, a full disk
        raise FileNotFoundError(
            f"{key}: {url} cannot be downloaded ({error}); without a network, put the file at {path}, "
            "or set model.pretrained=/path/to/file"
        ) from error
