"""Documented name of :mod:`ffc_dense.openmmlab.inputs.safe_loading`, for ``custom_imports`` of users' configs."""

from ..openmmlab.inputs.safe_loading import *  # noqa: F403
