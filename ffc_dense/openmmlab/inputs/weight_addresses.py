"""Where weights lie: a path, an address whose file is downloaded into torch's cache, as mmengine does, or a storage
back end that is registered with mmengine.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmengine.fileio import BaseStorageBackend, LocalBackend, PetrelBackend, get_file_backend
from mmengine.fileio.backends import prefix_to_backends
from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models, get_torchvision_models

from ..training.main_process import from_main

REMEDY = "docs/how-to/weights.md says where it comes from; or set model.pretrained=/path/to/file (None: random weights)"


def is_remote(checkpoint: str) -> bool:
    return re.match(r"[\w+:-]+://", checkpoint) is not None


@contextmanager
def weights_file(checkpoint: str, key: str) -> Iterator[Path | None]:
    """As :func:`local_path`; of a registered storage back end, a copy of the file that lives as long as the context.

    Raises:
        FileNotFoundError: the back end gives no such file; besides what :func:`local_path` raises.
    """
    path, backend = local_path(checkpoint, key), _storage(checkpoint)
    if path is not None or backend is None:
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder, checkpoint.rpartition("/")[2])
        try:
            copy.write_bytes(backend(checkpoint).get(checkpoint))
        except Exception as error:  # whatever a store, or its client that is not installed, raises
            raise FileNotFoundError(
                f"{key}: {checkpoint} cannot be read by mmengine's back end ({type(error).__name__}: {error}); correct "
                "the address, or give the path of a file"
            ) from error
        yield copy


def _storage(checkpoint: str) -> Callable[[str], BaseStorageBackend] | None:
    """What opens the store of an address: by its scheme as in ``mmengine.fileio``, or, of mmengine's own two schemes,
    as mmengine's loader does, by the name 'petrel'.
    """
    scheme = checkpoint.partition("://")[0].rpartition(":")[2] if is_remote(checkpoint) else ""
    kind = prefix_to_backends.get(scheme)
    if kind is None or kind is LocalBackend:
        return None
    if kind is PetrelBackend:
        return lambda address: get_file_backend(address, backend_args={"backend": "petrel"})
    return get_file_backend


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
