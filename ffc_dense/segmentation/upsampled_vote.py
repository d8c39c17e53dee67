"""Documented name of :mod:`ffc_dense.segmentation.model.upsampled_vote`."""

from .model.upsampled_vote import *  # noqa: F403
