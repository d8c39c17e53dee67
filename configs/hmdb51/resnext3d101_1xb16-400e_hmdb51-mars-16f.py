_base_ = "./resnext3d101_1xb16-400e_hmdb51-mars-64f.py"
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="weights/MARS_Kinetics_16f.pth")),
    teacher=dict(init_cfg=dict(checkpoint="weights/Flow_HMDB51_16f.pth")),
)
train_dataloader = dict(dataset=dict(clip_length=16))
val_dataloader = dict(dataset=dict(clip_length=16))
test_dataloader = val_dataloader
