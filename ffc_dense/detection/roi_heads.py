"""Saved LazyConfigs name ``ffc_dense.detection.roi_heads.FFCCascadeROIHeads``; it is in :mod:`.model.roi_heads`."""

from .model.roi_heads import *  # noqa: F403
