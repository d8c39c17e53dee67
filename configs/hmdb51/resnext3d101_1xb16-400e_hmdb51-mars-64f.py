_base_ = "./resnext3d101_1xb32-400e_hmdb51-rgb-64f.py"
kinetics = dict(type="Pretrained", checkpoint="weights/MARS_Kinetics_64f.pth", prefix="module")
# A run of the flow config. For MARS's own Flow_HMDB51_64f.pth the prefix is "module".
flow = dict(type="Pretrained", checkpoint="weights/Flow_HMDB51_64f.pth", prefix="backbone")
model = dict(
    type="MARSClassifier",
    data_preprocessor=dict(mean=[114.7748, 107.7354, 99.4750, 127.5, 127.5]),  # F: of RGB, then of flow
    backbone=dict(init_cfg=dict(_delete_=True, **kinetics)),
    teacher=dict(type="ResNeXt3D", in_channels=2, init_cfg=flow),
    distill_weight=50.0,  # F
)
train_dataloader = dict(batch_size=16, dataset=dict(modality="RGB+flow"))  # F
