"""Saved LazyConfigs name ``ffc_dense.detection.predictor.FFCFastRCNNOutputLayers``; see :mod:`.model.predictor`."""

from .model.predictor import *  # noqa: F403
