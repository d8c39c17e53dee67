"""The last checkpoint of a run, and the number of its parameters."""

from pathlib import Path

from ..frameworks import FRAMEWORKS
from ..safe_files import read_torch
from ..safe_files.errors import UnsafeFileError
from .reading import reader_of
from .run import Run

# Buffers, which no optimizer changes. detectron2's FrozenBatchNorm2d also keeps weight and bias as buffers; here they
# count as parameters, by their names.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
# Objects in mmengine's checkpoints beside the weights. They are not needed here and are not built.
IGNORED = dict.fromkeys(
    ("mmengine.logging.history_buffer.HistoryBuffer", "builtins.getattr", "builtins.slice"), lambda args, state: None
)


def last_checkpoint(run: Run) -> Path | None:
    """The checkpoint that the run ended with; None if it is not there."""
    return reader_of(run.framework).last_checkpoint(Path(run.folder))


def count_parameters(checkpoint: Path) -> int | None:
    """The number of weights in the checkpoint; None if it cannot be read safely."""
    try:
        content = read_torch(checkpoint, IGNORED)
    except (UnsafeFileError, OSError):
        return None
    if not isinstance(content, dict):
        return None
    state = next((content[row.weights_key] for row in FRAMEWORKS if row.weights_key in content), None)
    if not isinstance(state, dict):
        return None
    # detectron2's own files may hold numpy arrays.
    sizes = [getattr(value, "size", None) for key, value in state.items() if key.rsplit(".", 1)[-1] not in BUFFERS]
    return sum(size().numel() if callable(size) else size or 0 for size in sizes)
