# Two iterations on images of 32 x 32 pixels: whether everything is installed.
_base_ = "./resnet18_8xb32-90e_in1k.py"
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=32, backend="pillow"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=32, edge="short", backend="pillow"),
    dict(type="CenterCrop", crop_size=32),
    dict(type="PackInputs"),
]
dataset = dict(_delete_=True, type="CustomDataset", data_root="data/mini_imagenet")
loading = dict(batch_size=4, num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(dataset=dict(**dataset, data_prefix="train", pipeline=train_pipeline), **loading)
val_dataloader = dict(dataset=dict(**dataset, data_prefix="val", pipeline=test_pipeline), **loading)
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(num_classes=10),
    backbone=dict(stem_channels=8, base_channels=4),
    head=dict(num_classes=10, in_channels=32),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = None
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=2, val_interval=2)
auto_scale_lr = None
randomness = dict(seed=1)
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=1, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=1),
    ffc_scalars=dict(interval=1),
)
