# Table 3 on the right. F (hyunjaelee410/style-based-recalibration-module): after the last norm, no weight decay on it.
# I: the schedule of Table 2; that code steps at the epochs 31 and 61.
_base_ = "./resnet50_8xb32-90e_in1k.py"
model = dict(backbone=dict(type="SRMResNet"))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(se_layer=dict(decay_mult=0.0))))
