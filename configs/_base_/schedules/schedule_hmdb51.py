# Fine-tuning of a Kinetics network. F: found in the MARS code.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=1e-3, momentum=0.9, dampening=0.9, weight_decay=1e-5),  # F
)
# F: once the validation loss has not fallen for ten epochs. MARS validates on one random clip of each test video; here
# the loss is that of the videos' scores, over all clips.
param_scheduler = [dict(type="ReduceOnPlateauLR", monitor="cross_entropy", rule="less", factor=0.1, patience=10)]
train_cfg = dict(by_epoch=True, max_epochs=400, val_interval=1)  # F
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=32)
