"""Read a segmentor's checkpoint for evaluation: nothing in the file runs, and nothing of the model stays random."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

# What mmengine's checkpoints hold besides tensors, optimizer state and plain values: the message hub with its
# HistoryBuffers, whose pickles name these. They are read as _Ignored, so that no code behind a name of the file runs.
_NOT_WEIGHTS = (
    "builtins.getattr",
    "builtins.slice",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
)


class _Ignored:
    """Stands for an object of the file that is not needed."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """The weights in ``path``: an mmengine checkpoint, or a bare state dict; always ``weights_only``.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: the file is no checkpoint, or reading it would run code; or torch is older than 2.6, whose
            weights-only reader cannot pass over mmengine's objects.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        raise RuntimeError(f"{path} was not read: torch {torch.__version__} cannot read it safely; 2.6 or newer can")
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; name the .pth file that a training wrote")
    try:
        with torch.serialization.safe_globals([(_Ignored, name) for name in _NOT_WEIGHTS]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise RuntimeError(
            f"{path} was not read: it is no checkpoint, is damaged, or holds objects that run code when loaded. Write "
            f"the weights alone, torch.save(model.state_dict(), file), where you trust the file ({error})"
        ) from error
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise RuntimeError(f"{path} holds no weights: expected an mmengine checkpoint or a state dict")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_for_evaluation(model: nn.Module, path: str | Path) -> None:
    """Load ``path`` into ``model`` in place; mmengine would only log what is missing and score random weights.

    Raises:
        FileNotFoundError, RuntimeError: as :func:`read_state_dict`.
        RuntimeError: weights of the model are missing or of another shape, or the file holds filters that the model
            lacks, as when an FFC checkpoint meets its stock config. The message names them.
    """
    state = read_state_dict(path)
    own = model.state_dict()
    faults = [f"{key} is missing" for key in own if key not in state]
    faults += [
        f"{key} is {tuple(state[key].shape)} in the file, {tuple(value.shape)} in the model"
        for key, value in own.items() if key in state and state[key].shape != value.shape
    ]  # fmt: skip
    faults += [f"{key} has no place in the model" for key in state if ".filters." in key and key not in own]
    if faults:
        shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else "")
        raise RuntimeError(
            f"{path} cannot be evaluated with this config: {shown}. Evaluate with the config that it was trained with, "
            "or train from it first (load_from)"
        )
    model.load_state_dict({key: value for key, value in state.items() if key in own})
