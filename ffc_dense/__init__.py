"""Sequential Feature Filtering Classifier (FFC) for dense prediction.

The core needs torch alone. ``ffc_dense.detection`` extends detectron2, ``ffc_dense.segmentation`` extends mmseg,
``ffc_dense.classification`` extends mmpretrain.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .method.attaching import attach
    from .method.fast import get_backend, set_backend
    from .method.filtering import FeatureFilter
    from .method.layers import FFCConv2d, FFCLinear
    from .method.voting import vote

__all__ = ["FFCConv2d", "FFCLinear", "FeatureFilter", "__version__", "attach", "get_backend", "set_backend", "vote"]

# Imported at the first use: `ffc-dense --help` and the shell launchers need not wait for torch.
_HOMES = {
    "FFCConv2d": "layers",
    "FFCLinear": "layers",
    "FeatureFilter": "filtering",
    "attach": "attaching",
    "get_backend": "fast",
    "set_backend": "fast",
    "vote": "voting",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".method.{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
