"""Grad-CAM of every output (paper Fig. 1 and 4): where the evidence of each output's class lies.

``maps`` computes them for one output of several, unscaled; ``figure`` draws them.
``ffc_dense.detection.inspection.gradcam`` and ``ffc_dense.segmentation.inspection.gradcam`` say which feature map is
explained.
"""
