"""Documented name of :mod:`ffc_dense.detection.training.scalars`."""

from .training.scalars import *  # noqa: F403
