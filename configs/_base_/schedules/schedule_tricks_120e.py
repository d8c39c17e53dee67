# The schedule of He et al. Marks as in ../datasets/imagenet_tricks.py.
optim_wrapper = dict(
    type="OptimWrapper",  # F: in float16 (their --dtype); train.py --amp is the nearest
    optimizer=dict(type="SGD", lr=0.4, momentum=0.9, weight_decay=1e-4, nesterov=True),  # F
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),  # F: --no-wd. I: FFC's LayerNorms too
)
warm_up = dict(type="LinearLR", start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True)  # F
param_scheduler = [
    warm_up,
    dict(type="MultiStepLR", by_epoch=True, milestones=[30, 60, 90], gamma=0.1),  # F: the epochs. I: of this row
]
train_cfg = dict(by_epoch=True, max_epochs=120, val_interval=1)  # F
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=1024)
