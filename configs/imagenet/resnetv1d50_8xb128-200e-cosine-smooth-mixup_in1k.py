# Table 3 on the left, "+ mixup".
_base_ = "./resnetv1d50_8xb128-120e-cosine-smooth_in1k.py"
model = dict(train_cfg=dict(augments=dict(type="Mixup", alpha=0.2)))  # F: 0.2, for 200 epochs
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),  # F
    dict(  # F: to 0
        type="CosineAnnealingLR", eta_min=0, by_epoch=True, begin=5, end=200, T_max=195, convert_to_iter_based=True
    ),
]
train_cfg = dict(max_epochs=200)  # F
