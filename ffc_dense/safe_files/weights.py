"""The weights in a checkpoint of any framework."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import UnsafeFileError, damaged
from .pickles import read_pickle
from .torch_files import read_torch

# Other objects in the files: mmengine's message hub. Empty placeholders replace them.
_PASSED_OVER = {
    "mmengine.logging.history_buffer.HistoryBuffer": lambda args, state: None,
    "builtins.getattr": lambda args, state: None,
    "builtins.slice": lambda args, state: None,
}


@dataclass
class Weights:
    """Attributes:
    tensors: the weights under the names that the file has.
    framework: "detectron2", "mmseg", "mmpretrain", or "" for a bare state dict.
    naming: the origin of the names ("Caffe2", "torchvision") if detectron2 must match them to its own, else "".
    head: type of the FFC head in the config that mmengine recorded, or "".
    classes: names of the classes of the training, or () if the file has none.
    """

    tensors: dict[str, Tensor]
    framework: str
    naming: str
    head: str = ""
    classes: tuple[str, ...] = ()


def detectron2_content(path: str | Path) -> dict[str, Any]:
    """A .pkl, .pyth or .pth file as detectron2's checkpointer reads it: ``{"model": {name: tensor or array}, ...}``.

    Raises:
        UnsafeFileError: the file holds other objects, is damaged, or holds no names.
    """
    suffix = Path(path).suffix
    content = read_pickle(path) if suffix == ".pkl" else read_torch(path)
    if not isinstance(content, dict):
        raise damaged(path, f"it holds a {type(content).__name__}, not named weights")
    if suffix == ".pkl":
        if "model" in content and "__author__" in content:
            return content
        blobs = (
            content["blobs"] if isinstance(content.get("blobs"), dict) else content
        )  # Caffe2's detectors have "blobs", its ImageNet models do not
        model = {name: value for name, value in blobs.items() if not str(name).endswith("_momentum")}
        return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}
    if suffix == ".pyth":  # pycls
        if "model_state" not in content:
            raise damaged(path, "it has no model_state, which pycls' .pyth files have")
        model = {name: value for name, value in content["model_state"].items() if "num_batches_tracked" not in name}
        return {"model": model, "__author__": "pycls", "matching_heuristics": True}
    return content if "model" in content else {"model": content}


def read_weights(path: str | Path) -> Weights:
    """The weights of detectron2's .pth, .pyth and .pkl files and of mmengine's .pth files.

    Raises:
        UnsafeFileError: the file holds other objects, is damaged, or holds no weights.
        OSError: it cannot be opened.
    """
    if Path(path).suffix in (".pkl", ".pyth"):
        content = detectron2_content(path)
    else:
        content = read_torch(path, _PASSED_OVER)
    if not isinstance(content, dict):
        content = {}
    state, framework = content, ""
    for key, name in (("model", "detectron2"), ("state_dict", "mmseg")):
        if isinstance(content.get(key), dict):
            state, framework = content[key], name
    naming = str(content.get("__author__", "")) if content.get("matching_heuristics") else ""
    meta = content.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    noted = re.search(r"type='(FFC\w+Head)'", str(meta.get("cfg", "")))
    if framework == "mmseg" and re.search("^default_scope = 'mmpretrain'", str(meta.get("cfg", "")), re.MULTILINE):
        framework = "mmpretrain"
    named = content.get("class_names") or (meta.get("dataset_meta") or {}).get("classes") or ()  # detectron2, mmengine
    tensors = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            value = torch.from_numpy(value)
        if isinstance(value, Tensor):
            tensors[key] = value
    if not tensors:
        raise UnsafeFileError(
            f"{path} holds no weights: expected a checkpoint of detectron2 or mmengine, or a state dict"
        )
    return Weights(tensors, framework, naming, noted[1] if noted else "", tuple(map(str, named)))
