"""Sequential Feature Filtering Classifier (FFC) for dense prediction.

The core needs torch alone. ``ffc_dense.detection`` extends detectron2, ``ffc_dense.segmentation`` extends mmseg.
"""

from .method.attaching import attach
from .method.fast import get_backend, set_backend
from .method.filtering import FeatureFilter
from .method.layers import FFCConv2d, FFCLinear
from .method.voting import vote
from .version import __version__

__all__ = ["FFCConv2d", "FFCLinear", "FeatureFilter", "__version__", "attach", "get_backend", "set_backend", "vote"]
