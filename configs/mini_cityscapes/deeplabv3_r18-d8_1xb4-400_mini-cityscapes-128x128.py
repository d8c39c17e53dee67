_base_ = "./pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="ASPPHead",
        in_channels=256,
        in_index=3,
        channels=64,
        dilations=(1, 4, 8, 12),
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    )
)
