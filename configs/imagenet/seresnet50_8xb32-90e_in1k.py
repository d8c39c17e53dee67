# Table 3 on the right. F (hyunjaelee410/style-based-recalibration-module): after the last norm, ratio 16, with biases.
# I: the schedule of Table 2; that code steps at the epochs 31 and 61.
_base_ = "./resnet50_8xb32-90e_in1k.py"
model = dict(backbone=dict(type="SEResNet", se_ratio=16))
