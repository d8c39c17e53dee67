"""Clips on mmpretrain's engine: 3D ResNeXt, MARS and HMDB51 (the paper's Table 6).

Importing this package (``custom_imports`` in a config) registers the classes below in mmpretrain. The FFC head is
``ffc_dense.classification``'s.
"""

try:
    import mmpretrain  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "mmpretrain":
        raise
    raise ModuleNotFoundError(
        "ffc_dense.video needs mmpretrain, which is not installed: pip install 'ffc_dense[classification]'",
        name="mmpretrain",
    ) from error

from .evaluation.metrics import CrossEntropy
from .inputs.dataset import HMDB51
from .inputs.dataset_check import CheckVideosHook
from .inputs.transforms import ClipCenterCrop, ClipFlip, LoadClips, MultiScaleCornerCrop, PackClips
from .model.classifiers import ClipPreprocessor, MARSClassifier, VideoClassifier
from .model.resnext3d import ResNeXt3D

__all__ = [
    "HMDB51",
    "CheckVideosHook",
    "ClipCenterCrop",
    "ClipFlip",
    "ClipPreprocessor",
    "CrossEntropy",
    "LoadClips",
    "MARSClassifier",
    "MultiScaleCornerCrop",
    "PackClips",
    "ResNeXt3D",
    "VideoClassifier",
]
