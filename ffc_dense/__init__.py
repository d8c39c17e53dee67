"""Sequential Feature Filtering Classifier (FFC) for dense prediction.

The core needs torch alone. ``ffc_dense.detection`` extends detectron2, ``ffc_dense.segmentation`` extends mmseg.
"""

from .attaching import attach
from .filtering import FeatureFilter
from .layers import FFCConv2d, FFCLinear
from .ops import get_backend, set_backend
from .version import __version__
from .voting import vote

__all__ = ["FFCConv2d", "FFCLinear", "FeatureFilter", "__version__", "attach", "get_backend", "set_backend", "vote"]
