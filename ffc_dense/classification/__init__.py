"""FFC image classification for MMPretrain 1.x.

Importing this package (``custom_imports`` in a config) registers the ``FFC*ClsHead`` classes, ``SRMResNet`` and the
hooks of :mod:`ffc_dense.openmmlab`; mmpretrain must be installed, mmseg need not be. It changes nothing in mmpretrain
or mmengine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

try:
    import mmpretrain  # noqa: F401

    from ..openmmlab.quiet_import import quiet_import

    quiet_import("mmpretrain.datasets")
except ModuleNotFoundError as error:
    if error.name != "mmpretrain":
        raise
    from ..frameworks import MMPRETRAIN

    raise ModuleNotFoundError(
        f"ffc_dense.classification needs MMPretrain 1.x, which is not installed: {MMPRETRAIN.install}",
        name="mmpretrain",
    ) from error

from mmpretrain.registry import HOOKS

from ..openmmlab import (
    AtomicCheckpointHook,
    InitialWeightsHook,
    NonFiniteLoss,
    NonFiniteLossHook,
    NothingToResume,
    PreemptionHook,
    RandomStateHook,
    SafeLoadingHook,
    checkpoint_to_resume,
    register_hooks,
)
from .evaluation.ensemble import ClassifierEnsemble
from .evaluation.predictions import PredictionWriter
from .evaluation.reductions import AllReductionsTestLoop
from .inputs.dataset_check import CheckDatasetHook
from .model import heads
from .model.cls_head import FFCClsHead
from .model.heads import *  # noqa: F403
from .model.srm import SRMResNet
from .training.scalars import FFCScalarsHook

if TYPE_CHECKING:
    from .inspection.classifier import Classifier

register_hooks(HOOKS)

__all__ = [
    "AllReductionsTestLoop",
    "AtomicCheckpointHook",
    "CheckDatasetHook",
    "Classifier",
    "ClassifierEnsemble",
    "FFCClsHead",
    "FFCScalarsHook",
    "InitialWeightsHook",
    "NonFiniteLoss",
    "NonFiniteLossHook",
    "NothingToResume",
    "PredictionWriter",
    "PreemptionHook",
    "RandomStateHook",
    "SRMResNet",
    "SafeLoadingHook",
    "checkpoint_to_resume",
    *heads.__all__,
]

# Imported at the first use: a training needs none of them.
_LATER = {"Classifier": "inspection.classifier"}


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
    return value
