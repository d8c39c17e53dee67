"""Files behind the path handlers that are registered with detectron2's PathManager."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathManager as Manager


@contextmanager
def local_file(path: str, manager: Manager = PathManager) -> Iterator[str]:
    """A file of this machine with the content of ``path``.

    Args:
        path: a file, or an address that a handler of ``manager`` knows.

    Yields:
        What the handler's ``get_local_path`` says; of a handler that opens files and has none, a copy that lives as
        long as the context.
    """
    try:
        local = manager.get_local_path(path)
    except NotImplementedError:
        local = path
    if os.path.exists(local) or "://" not in local:
        yield local
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, os.path.basename(path))
        with manager.open(path, "rb") as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target)
        yield copy
