_base_ = [
    "../_base_/models/resnext3d101_hmdb51.py",
    "../_base_/datasets/hmdb51.py",
    "../_base_/default_runtime_hmdb51.py",
    "../_base_/schedules/schedule_hmdb51.py",
]
# Published by the authors of MARS; docs/how-to/weights.md says where it goes.
kinetics = dict(type="Pretrained", checkpoint="weights/RGB_Kinetics_64f.pth", prefix="module")
model = dict(backbone=dict(init_cfg=kinetics))
