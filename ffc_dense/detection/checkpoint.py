from typing import Any

from detectron2.checkpoint import DetectionCheckpointer


class EvalCheckpointer(DetectionCheckpointer):
    """Identical to :class:`DetectionCheckpointer`, except that loading fails unless it fills the whole model.

    detectron2 only warns when weights are missing and then evaluates random ones. A stock checkpoint in an FFC model
    (its filters are missing) is good to *train* from, not to evaluate.

    Raises:
        RuntimeError: no checkpoint was named, or it lacks weights of the model; the message names them.
    """

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        if not path:
            raise RuntimeError("nothing to evaluate: name a checkpoint in MODEL.WEIGHTS, or --resume for the last one")
        self._path = path
        return super().load(path, checkpointables)

    def _load_model(self, checkpoint: Any):
        incompatible = super()._load_model(checkpoint)
        absent = [*incompatible.missing_keys, *(key for key, _, _ in incompatible.incorrect_shapes)]
        if absent:
            shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
            raise RuntimeError(
                f"{self._path} cannot be evaluated with this config, it lacks: {shown}. Evaluate with the config that "
                "it was trained with, or train from it first (MODEL.WEIGHTS without --eval-only)"
            )
        return incompatible
