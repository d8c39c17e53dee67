"""Deterministic mini datasets in the layouts of COCO, Cityscapes and ImageNet, made from bundled real images."""

try:
    import numpy  # noqa: F401
    import PIL  # noqa: F401
    import skimage  # noqa: F401
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"ffc_dense.minidata needs the package {error.name!r}; run: pip install 'ffc_dense[minidata]'"
    ) from error

from .cityscapes import make_mini_cityscapes
from .coco import make_mini_coco
from .folder import DatasetFolderError
from .hmdb51 import make_mini_hmdb51
from .imagenet import make_mini_imagenet

__all__ = ["DatasetFolderError", "make_mini_cityscapes", "make_mini_coco", "make_mini_hmdb51", "make_mini_imagenet"]
