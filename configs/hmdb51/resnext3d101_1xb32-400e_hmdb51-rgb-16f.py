_base_ = "./resnext3d101_1xb32-400e_hmdb51-rgb-64f.py"
model = dict(backbone=dict(init_cfg=dict(checkpoint="weights/RGB_Kinetics_16f.pth")))
train_dataloader = dict(dataset=dict(clip_length=16))
val_dataloader = dict(dataset=dict(clip_length=16))
test_dataloader = val_dataloader
