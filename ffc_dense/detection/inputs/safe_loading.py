"""Load detectron2's checkpoints without running code that is in them."""

import os
from typing import Any
from urllib.parse import parse_qs

from ...safe_files import check_digest, classes_in, read_safetensors, split_sha256
from ...safe_files.weights import detectron2_content
from .remote import local_file


class SafeLoading:
    """Put before :class:`DetectionCheckpointer` or a subclass in the bases: identical to it, except for what it reads.

    - ``.pkl`` (detectron2's and Caffe2's model zoos): numpy arrays and plain values only, where it would unpickle.
    - other files: ``torch.load(weights_only=True)``. Optimizer, scheduler and trainer state are tensors and plain
      values, so resuming needs no more. fvcore leaves the choice to the installed torch, or turns it off.
    - ``.safetensors``: weights. ``tools/convert_checkpoint.py`` makes them of the files above.
    - files behind a path handler that was registered with detectron2's PathManager, or with the checkpointer's own.
    - ``PATH?sha256=HEX``, and ``PATH.sha256`` beside the file: compared before anything is read.

    Nothing is ever read in another way after one of these fails.

    Raises:
        UnsafeFileError: the file holds other objects, is damaged, or torch is older than 2.6 (not for ``.pkl`` and
            ``.safetensors``); the message names the object.
        DigestError: the file has another sha256.
        FileNotFoundError: there is no such file.
    """

    def load(self, path: str, *args, **kwargs) -> dict[str, Any]:
        if not path:
            return super().load(path, *args, **kwargs)
        path, expected = split_sha256(path)
        plain, _, query = path.partition("?")
        with local_file(plain, self.path_manager) as local:
            check_digest(local, expected, self.logger.warning)
            if not os.path.isfile(plain) and not self._finds(plain):  # the handler opens files, and has none here
                path = f"{local}?{query}" if query else local
            try:
                return super().load(path, *args, **kwargs)
            finally:
                self._parsed_url_during_load = None  # an error of a file must not fail the next load as well

    def _finds(self, path: str) -> bool:
        try:
            return os.path.isfile(self.path_manager.get_local_path(path))
        except NotImplementedError:
            return False

    def _load_file(self, filename: str) -> dict[str, Any]:
        loaded = _read(filename)
        queries = parse_qs(self._parsed_url_during_load.query)
        if queries.pop("matching_heuristics", ["False"]) == ["True"]:
            loaded["matching_heuristics"] = True
        if queries:
            raise ValueError(f"{filename}: unknown ?{'&'.join(queries)}; matching_heuristics and sha256 are known")
        return loaded


def _read(filename: str) -> dict[str, Any]:
    """{"model": {name: tensor or array}, ...}: further entries as :class:`DetectionCheckpointer` has them."""
    if filename.endswith(".safetensors"):
        tensors, metadata = read_safetensors(filename)
        loaded = {"model": tensors}
        if metadata.get("naming"):
            loaded |= {"__author__": metadata["naming"], "matching_heuristics": True}
        if classes := classes_in(metadata, filename):
            loaded["class_names"] = classes
        return loaded
    return detectron2_content(filename)
