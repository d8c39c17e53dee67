# The toolbox's schedule. Marks as in ../models/pspnet_r101-d8_toolbox.py.
_base_ = "./schedule_40k.py"
optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0005)  # F; decay on every parameter: F
optim_wrapper = dict(optimizer=optimizer)
# F: 0.01 * (1 - i / 40000)^0.9, to 0; mmengine divides by 39,999, so that its last iteration has 0 and not 7e-7.
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=40000, by_epoch=False)]
train_cfg = dict(max_iters=40000, val_interval=4000)  # F: 40,000, the last checkpoint counts; the interval is ours
