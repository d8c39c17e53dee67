# Four iterations of the toolbox protocol on the mini dataset: a small model from random weights, on a CPU.
_base_ = "./deeplabv3_r101-d8_4xb2-40k_cityscapes-769x769_toolbox.py"
crop_size = (128, 128)
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(crop_size=crop_size)
data_root = "data/mini_cityscapes"
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=crop_size),
    pretrained=None,
    backbone=dict(depth=18, base_channels=32, stem_channels=32),
    decode_head=dict(in_channels=256, channels=16, branch_channels=8),
    auxiliary_head=dict(in_channels=128, channels=16),
    test_cfg=dict(crop_size=crop_size, stride=(85, 85)),
)
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=4, by_epoch=False)]
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
env_cfg = dict(cudnn_benchmark=False)
