# Short schedule for training from random weights on a CPU.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-4))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=200, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=200, val_interval=200)
val_cfg = dict()
test_cfg = dict()
log_processor = dict(by_epoch=False)
randomness = dict(seed=1)
