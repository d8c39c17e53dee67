from collections.abc import Iterable
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from ...reliability.fitting import refuse_misfit, refuse_other_classes
from .datasets import dataset_class_names
from .safe_loading import SafeLoading

CLASS_NAMES = "class_names"  # key of a checkpoint, beside "model"


def saved_class_names(content: dict[str, Any], number: int) -> list[str] | None:
    """The names of the classes that a checkpoint tells, if it tells as many as the model has."""
    names = content.get(CLASS_NAMES)
    fits = isinstance(names, list) and len(names) == number and all(isinstance(name, str) for name in names)
    return names if fits else None


def check_class_order(content: dict[str, Any], path: str, datasets: Iterable[str], key: str) -> None:
    """Refuse a checkpoint whose classes are not those of the test sets, see :func:`.refuse_other_classes`.

    Args:
        content: what loading the checkpoint ``path`` gave.
        datasets: the test sets' names, which ``key`` of the config has.
    """
    trained = content.get(CLASS_NAMES)
    for name in datasets if isinstance(trained, list) else ():
        remedy = "test on a dataset whose classes are in the order of the training"
        refuse_other_classes(path, trained, dataset_class_names(name) or [], f"{key} {name}", remedy)


class SafeCheckpointer(SafeLoading, DetectionCheckpointer):
    """Identical to :class:`DetectionCheckpointer`, except that loading runs no code of the file."""


class EvalCheckpointer(SafeLoading, DetectionCheckpointer):
    """Identical to :class:`DetectionCheckpointer`, except that loading runs no code of the file and fills the model.

    detectron2 only warns when weights are missing and then evaluates random ones.

    Args:
        weights_key: the config key that names the checkpoint, for the message.

    Raises:
        RuntimeError: no checkpoint was named, or it does not fit (:func:`.refuse_misfit`).
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
        refuse_misfit(
            self._path,
            incompatible.missing_keys,
            {key: (tuple(file), tuple(model)) for key, file, model in incompatible.incorrect_shapes},
            incompatible.unexpected_keys,
            f"{self._weights_key} without --eval-only",
        )
        return incompatible
