"""FFC per-pixel classification for MMSegmentation 1.x.

Importing this package (``custom_imports`` in a config) registers the ``FFC*Head`` classes and the hooks of
:mod:`ffc_dense.openmmlab`; mmseg must be installed. It changes nothing in mmseg or mmengine; importing
``ffc_dense.segmentation.safe_loading`` makes mmengine read files safely, see there.
"""

try:
    import mmseg  # noqa: F401

    from ..openmmlab.quiet_import import quiet_import

    quiet_import("mmseg.datasets")
except ModuleNotFoundError as error:
    if error.name != "mmseg":
        raise
    from ..frameworks import MMSEG

    raise ModuleNotFoundError(
        f"ffc_dense.segmentation needs MMSegmentation 1.x, which is not installed: {MMSEG.install}",
        name="mmseg",
    ) from error

from mmseg.registry import HOOKS

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
from .evaluation.ensemble import SegmentorEnsemble
from .evaluation.metrics import CityscapesScriptsMetric, UnroundedIoUMetric
from .evaluation.reductions import AllReductionsTestLoop
from .inputs.dataset_check import CheckDatasetHook
from .inspection.map_files import MapWriter
from .inspection.segmentor import Segmentor
from .model import heads
from .model.aspp_head import FFCNarrowASPPHead, NarrowASPPHead
from .model.decode_head import FFCDecodeHead
from .model.heads import *  # noqa: F403
from .model.opinions import FFCCascadeEncoderDecoder, FFCEncoderDecoder, FFCSegTTAModel, with_opinions
from .training.scalars import FFCScalarsHook

register_hooks(HOOKS)

__all__ = [
    "AllReductionsTestLoop",
    "AtomicCheckpointHook",
    "CheckDatasetHook",
    "CityscapesScriptsMetric",
    "FFCCascadeEncoderDecoder",
    "FFCDecodeHead",
    "FFCEncoderDecoder",
    "FFCNarrowASPPHead",
    "FFCScalarsHook",
    "FFCSegTTAModel",
    "InitialWeightsHook",
    "MapWriter",
    "NarrowASPPHead",
    "NonFiniteLoss",
    "NonFiniteLossHook",
    "NothingToResume",
    "PreemptionHook",
    "RandomStateHook",
    "SafeLoadingHook",
    "Segmentor",
    "SegmentorEnsemble",
    "UnroundedIoUMetric",
    "checkpoint_to_resume",
    "with_opinions",
    *heads.__all__,
]
