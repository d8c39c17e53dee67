"""Read a model's checkpoint for evaluation: nothing in the file runs, and nothing of the model stays random."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from ...reliability.fitting import refuse_misfit, refuse_other_classes
from ...safe_files import check_digest, split_sha256
from .mmengine_files import read_checkpoint
from .weight_addresses import is_remote, weights_file


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """The weights in ``path``: an mmengine checkpoint, a bare state dict or a .safetensors file.

    Args:
        path: or an address that mmengine reads, see :func:`.weights_file`; ``?sha256=HEX`` may follow.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: the file is no checkpoint, has another sha256, or reading it would run code; or torch is older
            than 2.6, whose weights-only reader is not safe.
    """
    checkpoint = _content(path)
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, dict) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise RuntimeError(f"{path} holds no weights: expected an mmengine checkpoint or a state dict")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _content(path: str | Path) -> dict[str, Any]:
    path, digest = split_sha256(str(path))
    if not is_remote(path) and not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; name the file that a training wrote")
    with weights_file(path, "checkpoint") as file:
        if file is None:
            raise FileNotFoundError(f"checkpoint {path}: no storage back end of mmengine has this scheme; give a path")
        check_digest(file, digest)
        return read_checkpoint(file)


def classes_of(path: str | Path) -> list[str]:
    """The names of the classes that a checkpoint of mmengine was trained with; [] if it does not say."""
    content = _content(path)
    meta = content.get("meta")
    classes = ((meta.get("dataset_meta") if isinstance(meta, dict) else None) or {}).get("classes") or ()
    return [str(name) for name in classes]


def check_class_order(runner: Runner, checkpoints: Iterable[str], remedy: str, *, renamed: bool = True) -> None:
    """Refuse checkpoints whose classes are not those of the runner's test set, see :func:`.refuse_other_classes`."""
    metainfo = getattr(runner.test_loop.dataloader.dataset, "metainfo", None) or {}
    tested = [str(name) for name in metainfo.get("classes") or ()]
    for path in checkpoints:
        refuse_other_classes(path, classes_of(path), tested, "test_dataloader.dataset", remedy, renamed=renamed)


def details_of(cfg: Config, checkpoint: str) -> dict[str, Any]:
    """What an exported file says of its model: 'classes', and the 'preprocessing' that stays outside of it."""
    model = cfg.model
    preprocessor = model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    wanted = ("mean", "std", "bgr_to_rgb", "to_rgb", "rgb_to_bgr")
    found = {name: preprocessor[name] for name in wanted if name in preprocessor}
    return {"classes": classes_of(checkpoint), "preprocessing": found}


def load_for_evaluation(model: nn.Module, path: str | Path) -> None:
    """Load ``path`` into ``model`` in place; mmengine would only log what is missing and score random weights.

    Raises:
        FileNotFoundError, RuntimeError: as :func:`read_state_dict`.
        RuntimeError: the file does not fit the model (:func:`.refuse_misfit`).
    """
    state = read_state_dict(path)
    own = model.state_dict()
    shapes = {
        key: (tuple(state[key].shape), tuple(value.shape))
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    }
    missing, unexpected = (key for key in own if key not in state), (key for key in state if key not in own)
    refuse_misfit(str(path), missing, shapes, unexpected, "load_from")
    model.load_state_dict({key: value for key, value in state.items() if key in own})
