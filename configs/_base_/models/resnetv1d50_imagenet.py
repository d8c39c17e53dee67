# ResNet-50-D of He et al. Marks as in ../datasets/imagenet_tricks.py.
_base_ = "./resnet50_imagenet.py"
model = dict(
    backbone=dict(
        type="ResNetV1d",  # I: the ResNet-50 of 4.3 GFLOPs in the paper's Table 3
        zero_init_residual=True,  # F: --last-gamma
        init_cfg=[  # F: Xavier, uniform
            dict(type="Xavier", layer="Conv2d", distribution="uniform"),
            dict(type="Constant", layer=["_BatchNorm", "GroupNorm"], val=1),
        ],
    ),
    head=dict(
        _delete_=True,
        type="LinearClsHead",
        num_classes=1000,
        in_channels=2048,
        init_cfg=dict(type="Xavier", layer="Linear", distribution="uniform"),  # F
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
)
