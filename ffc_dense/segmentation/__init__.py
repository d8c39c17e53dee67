"""FFC per-pixel classification for MMSegmentation 1.x.

Importing this package (``custom_imports`` in a config) registers the ``FFC*Head`` classes; mmseg must be installed.
"""

try:
    import mmseg  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "mmseg":
        raise
    raise ModuleNotFoundError(
        "ffc_dense.segmentation needs MMSegmentation 1.x, which is not installed: pip install "
        "'ffc_dense[segmentation]' (maintained packages), or mmsegmentation>=1.2 with a matching mmcv",
        name="mmseg",
    ) from error

from . import heads
from .aspp_head import FFCNarrowASPPHead, NarrowASPPHead
from .checkpoint_hook import AtomicCheckpointHook
from .dataset_check import CheckDatasetHook
from .decode_head import FFCDecodeHead
from .ensemble import SegmentorEnsemble
from .heads import *  # noqa: F403
from .initial_weights import InitialWeightsHook
from .map_files import MapWriter
from .metrics import CityscapesScriptsMetric, UnroundedIoUMetric
from .non_finite_loss import NonFiniteLoss, NonFiniteLossHook
from .opinions import FFCCascadeEncoderDecoder, FFCEncoderDecoder, FFCSegTTAModel, with_opinions
from .preemption import PreemptionHook
from .random_state import RandomStateHook
from .reductions import AllReductionsTestLoop
from .resuming import NothingToResume, checkpoint_to_resume
from .safe_loading_hook import SafeLoadingHook
from .segmentor import Segmentor
from .training_scalars import FFCScalarsHook

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
