"""Read mmengine's checkpoints: real objects for resuming, and none that the file could choose."""

from pathlib import Path
from typing import Any

from mmengine.logging import HistoryBuffer

from ...safe_files import UnsafeFileError, classes_in, read_safetensors, read_torch


def _history(args: tuple, state: Any) -> HistoryBuffer:
    """The buffer of a scalar in the message hub. Its statistics are those of the class, not those that it names."""
    return HistoryBuffer(state["_log_history"], state["_count_history"], state["max_length"])


# What mmengine's checkpoints hold besides tensors, arrays and plain values. A HistoryBuffer's pickle names its methods
# by getattr; nothing is looked up, and they stay away.
_OBJECTS = {
    "mmengine.logging.history_buffer.HistoryBuffer": _history,
    "builtins.getattr": lambda args, state: None,
    "builtins.slice": lambda args, state: slice(*args),
}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What mmengine saved in ``path``; of a .safetensors file the weights and the names of the classes.

    Raises:
        UnsafeFileError: the file holds other objects (the message says which), is damaged, or holds no names.
        OSError: it cannot be opened.
    """
    if Path(path).suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        classes = classes_in(metadata, path)
        return {"state_dict": tensors} | ({"meta": {"dataset_meta": {"classes": classes}}} if classes else {})
    content = read_torch(path, _OBJECTS)
    if not isinstance(content, dict):
        raise UnsafeFileError(f"{path} holds no weights: expected an mmengine checkpoint or a state dict")
    return content
