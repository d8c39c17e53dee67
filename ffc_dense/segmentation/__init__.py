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
from .decode_head import FFCDecodeHead
from .heads import *  # noqa: F403
from .initial_weights import InitialWeightsHook
from .metrics import CityscapesScriptsMetric, UnroundedIoUMetric
from .reductions import AllReductionsTestLoop

__all__ = [
    "AllReductionsTestLoop",
    "CityscapesScriptsMetric",
    "FFCDecodeHead",
    "FFCNarrowASPPHead",
    "InitialWeightsHook",
    "NarrowASPPHead",
    "UnroundedIoUMetric",
    *heads.__all__,
]
