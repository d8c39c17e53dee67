"""Faster R-CNN R50-FPN 1x as a LazyConfig: the model, data and schedule of faster_rcnn_R_50_FPN_1x.yaml."""

from detectron2 import model_zoo

dataloader = model_zoo.get_config("common/data/coco.py").dataloader
lr_multiplier = model_zoo.get_config("common/coco_schedule.py").lr_multiplier_1x
model = model_zoo.get_config("common/models/mask_rcnn_fpn.py").model
optimizer = model_zoo.get_config("common/optim.py").SGD
train = model_zoo.get_config("common/train.py").train

for key in ("mask_in_features", "mask_pooler", "mask_head"):
    model.roi_heads.pop(key)
dataloader.train.mapper.use_instance_mask = False

model.backbone.bottom_up.freeze_at = 2
train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
train.output_dir = "work_dirs/lazy_faster_rcnn_R_50_FPN_1x"
