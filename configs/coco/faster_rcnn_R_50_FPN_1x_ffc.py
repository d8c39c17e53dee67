from ffc_dense.detection import FFCFastRCNNOutputLayers

from .faster_rcnn_R_50_FPN_1x import dataloader, lr_multiplier, model, optimizer, train  # noqa: F401

model.roi_heads.box_predictor._target_ = FFCFastRCNNOutputLayers
train.output_dir = "work_dirs/lazy_faster_rcnn_R_50_FPN_1x_ffc"
