# Table 3 on the left, "+ cosine".
_base_ = "./resnetv1d50_8xb128-120e_in1k.py"
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),  # F
    dict(  # F: to 0
        type="CosineAnnealingLR", eta_min=0, by_epoch=True, begin=5, end=120, T_max=115, convert_to_iter_based=True
    ),
]
