from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from ...method.layers import FFC_MODULES
from .safe_loading import SafeLoading


class SafeCheckpointer(SafeLoading, DetectionCheckpointer):
    """Identical to :class:`DetectionCheckpointer`, except that loading runs no code of the file."""


class EvalCheckpointer(SafeLoading, DetectionCheckpointer):
    """Identical to :class:`DetectionCheckpointer`, except that loading runs no code of the file and fills the model.

    detectron2 only warns when weights are missing and then evaluates random ones. A stock checkpoint in an FFC model
    (its filters are missing) is good to *train* from, not to evaluate.

    Args:
        weights_key: the config key that names the checkpoint, for the message.

    Raises:
        RuntimeError: no checkpoint was named, it lacks weights of the model, or it holds filters that the model lacks
            (an FFC checkpoint meets its stock config); the message names them.
    """

    def __init__(self, model: nn.Module, save_dir: str = "", *, weights_key: str = "MODEL.WEIGHTS", **kwargs):
        super().__init__(model, save_dir, **kwargs)
        self._weights_key = weights_key

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        if not path:
            raise RuntimeError(
                f"nothing to evaluate: name a checkpoint in {self._weights_key}, or --resume for the last one"
            )
        self._path = path
        return super().load(path, checkpointables)

    def _load_model(self, checkpoint: Any):
        incompatible = super()._load_model(checkpoint)
        absent = [*incompatible.missing_keys, *(key for key, _, _ in incompatible.incorrect_shapes)]
        homeless = [key for key in incompatible.unexpected_keys if set(key.split(".")) & set(FFC_MODULES)]
        for keys, fault in ((absent, "it lacks"), (homeless, "the model has no place for")):
            if keys:
                shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
                raise RuntimeError(
                    f"{self._path} cannot be evaluated with this config, {fault}: {shown}. Evaluate with the config "
                    "that it was trained with, or train from it first "
                    f"({self._weights_key} without --eval-only)"
                )
        return incompatible
