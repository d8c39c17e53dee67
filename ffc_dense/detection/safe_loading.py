"""Load detectron2's checkpoints without running code that is in them."""

from typing import Any
from urllib.parse import parse_qs

from detectron2.utils.file_io import PathManager

from ..safe_files import check_digest, read_pickle, read_safetensors, read_torch, split_sha256
from ..safe_files.errors import damaged


class SafeLoading:
    """Put before :class:`DetectionCheckpointer` or a subclass in the bases: identical to it, except for what it reads.

    - ``.pkl`` (detectron2's and Caffe2's model zoos): numpy arrays and plain values only, where it would unpickle.
    - other files: ``torch.load(weights_only=True)``. Optimizer, scheduler and trainer state are tensors and plain
      values, so resuming needs no more. fvcore leaves the choice to the installed torch, or turns it off.
    - ``.safetensors``: weights. ``tools/convert_checkpoint.py`` makes them of the files above.
    - ``PATH?sha256=HEX``, and ``PATH.sha256`` beside the file: compared before anything is read.

    Nothing is ever read in another way after one of these fails.

    Raises:
        UnsafeFileError: the file holds other objects, is damaged, or torch is older than 2.6 (not for ``.pkl`` and
            ``.safetensors``); the message names the object.
        DigestError: the file has another sha256.
        FileNotFoundError: there is no such file.
    """

    def load(self, path: str, *args, **kwargs) -> dict[str, Any]:
        if path:
            path, expected = split_sha256(path)
            check_digest(PathManager.get_local_path(path.split("?")[0]), expected, self.logger.warning)
        try:
            return super().load(path, *args, **kwargs)
        finally:
            self._parsed_url_during_load = None  # an error of a file must not fail the next load as well

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
        if metadata.get("naming") in ("Caffe2", "pycls"):
            loaded |= {"__author__": metadata["naming"], "matching_heuristics": True}
        return loaded
    content = read_pickle(filename) if filename.endswith(".pkl") else read_torch(filename)
    if not isinstance(content, dict):
        raise damaged(filename, f"it holds a {type(content).__name__}, not named weights")
    if filename.endswith(".pkl"):
        if "model" in content and "__author__" in content:
            return content
        blobs = content.get("blobs", content)  # Caffe2's detectors have "blobs", its ImageNet models do not
        model = {name: value for name, value in blobs.items() if not name.endswith("_momentum")}
        return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}
    if filename.endswith(".pyth"):  # pycls
        if "model_state" not in content:
            raise damaged(filename, "it has no model_state, which pycls' .pyth files have")
        model = {name: value for name, value in content["model_state"].items() if "num_batches_tracked" not in name}
        return {"model": model, "__author__": "pycls", "matching_heuristics": True}
    return content if "model" in content else {"model": content}
