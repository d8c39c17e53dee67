# Table 2. I: the settings of ResNet-50, the only one in the authors' code.
_base_ = "./resnet50_8xb32-90e_in1k.py"
model = dict(backbone=dict(depth=18), head=dict(in_channels=512))
