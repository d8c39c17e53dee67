# DeepLabV3 R101 of the toolbox: its PSPNet, but for the head. Marks as in pspnet_r101-d8_toolbox.py.
_base_ = "./pspnet_r101-d8_toolbox.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="NarrowASPPHead",
        in_channels=2048,
        in_index=3,
        channels=512,  # F: 1x1, 1280 -> 512
        branch_channels=256,  # F: five branches (pooling, 1x1 and three dilated 3x3)
        dilations=(1, 12, 24, 36),  # F
        dropout_ratio=0.1,  # F
        num_classes=19,
        norm_cfg=dict(type="SyncBN", requires_grad=True),  # F
        act_cfg=dict(type="LeakyReLU", negative_slope=0.01),  # F
        align_corners=True,  # F
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0, avg_non_ignore=True),
    )
)  # F
