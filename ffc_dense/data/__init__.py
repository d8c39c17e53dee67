"""Checks of datasets in the layouts of COCO, Cityscapes, ImageNet and HMDB51, before anything is trained on them."""

try:
    import numpy  # noqa: F401
    import PIL  # noqa: F401
    import tqdm  # noqa: F401
except ImportError as error:
    raise ImportError(f"ffc_dense.data needs the package {error.name!r}; run: pip install numpy Pillow tqdm") from error

from .cityscapes import check_cityscapes
from .coco import check_coco
from .hmdb51 import check_hmdb51
from .imagenet import check_imagenet
from .report import KINDS, Fault, Report
from .train_ids import make_train_ids

__all__ = [
    "KINDS",
    "Fault",
    "Report",
    "check_cityscapes",
    "check_coco",
    "check_hmdb51",
    "check_imagenet",
    "make_train_ids",
]
