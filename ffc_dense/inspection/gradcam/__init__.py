"""Grad-CAM of every output (paper Fig. 1 and 4): where the evidence of each output's class lies.

The maps come from the library pytorch-grad-cam (the package ``grad-cam``). This package has what it lacks: targets
for one output of several, maps that are not stretched, and the figure. ``ffc_dense.detection.inspection.gradcam`` and
``ffc_dense.segmentation.inspection.gradcam`` say which feature map is explained.
"""
