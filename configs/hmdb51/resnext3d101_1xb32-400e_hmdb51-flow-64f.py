_base_ = "./resnext3d101_1xb32-400e_hmdb51-rgb-64f.py"
kinetics = dict(type="Pretrained", checkpoint="weights/Flow_Kinetics_64f.pth", prefix="module")
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5]),  # F
    backbone=dict(in_channels=2, init_cfg=dict(_delete_=True, **kinetics)),
)
train_dataloader = dict(dataset=dict(modality="flow"))
val_dataloader = dict(dataset=dict(modality="flow"))
test_dataloader = val_dataloader
