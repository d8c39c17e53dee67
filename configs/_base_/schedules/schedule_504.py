# Short schedule for training from random weights on a CPU: eight times through 2000 images, 32 at a time.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-4))
param_scheduler = [dict(type="PolyLR", eta_min=1e-5, power=0.9, begin=0, end=504, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=504, val_interval=504)
val_cfg = dict()
test_cfg = dict()
log_processor = dict(by_epoch=False)
randomness = dict(seed=1)
