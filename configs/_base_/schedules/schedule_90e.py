# SGD for 90 epochs as in the authors' code. Marks as in ../datasets/imagenet.py.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4),  # F; decay on every parameter: F
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[30, 60], gamma=0.1)]  # F
train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=1)  # F
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=256)  # train.py --auto-scale-lr, for other batches
