"""FFC box classification for detectron2.

Importing this package registers the ``FFC*ROIHeads`` and the mini dataset; detectron2 must be installed. It also
replaces two functions of detectron2 (:func:`.installing.install`): the reader of proposal files, which unpickles, and
``create_ddp_model``, which refuses models on the CPU.
"""

try:
    import detectron2  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "detectron2":
        raise
    from ..frameworks import DETECTRON2

    raise ModuleNotFoundError(
        f"ffc_dense.detection needs detectron2, which is not installed. Install it from source: {DETECTRON2.install}",
        name="detectron2",
    ) from error

from .evaluation.coco import OpinionCOCOEvaluator
from .evaluation.ensemble import DetectorEnsemble
from .evaluation.reductions import AllReductions, PerReduction
from .inputs import datasets  # noqa: F401  (registers the mini dataset)
from .inputs.checkpoint import EvalCheckpointer, SafeCheckpointer
from .inputs.safe_loading import SafeLoading
from .inspection.detector import Detector
from .installing import install
from .model.config import add_ffc_config
from .model.opinions import request_opinions
from .model.predictor import FFCFastRCNNOutputLayers
from .model.roi_heads import (
    FFCCascadeROIHeads,
    FFCRes5ROIHeads,
    FFCRes5Stride1ROIHeads,
    FFCStandardROIHeads,
    Res5Stride1ROIHeads,
)

install()

__all__ = [
    "AllReductions",
    "Detector",
    "DetectorEnsemble",
    "EvalCheckpointer",
    "FFCCascadeROIHeads",
    "FFCFastRCNNOutputLayers",
    "FFCRes5ROIHeads",
    "FFCRes5Stride1ROIHeads",
    "FFCStandardROIHeads",
    "OpinionCOCOEvaluator",
    "PerReduction",
    "Res5Stride1ROIHeads",
    "SafeCheckpointer",
    "SafeLoading",
    "add_ffc_config",
    "request_opinions",
]
