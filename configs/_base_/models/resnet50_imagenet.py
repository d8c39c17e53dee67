# ResNet-50 as the authors' code has it. Marks as in ../datasets/imagenet.py.
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        type="ClsDataPreprocessor",
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],  # F
        std=[58.395, 57.12, 57.375],  # F
        to_rgb=True,
    ),
    backbone=dict(
        type="ResNet",  # F: N(0, sqrt(2 / (k * k * out))), mmpretrain's default
        depth=50,
        num_stages=4,
        out_indices=(3,),
        # F: the stride is in the 3x3 convolution. The paper's GFLOPs column (3.86) is that of a stride in the 1x1 one,
        # style="caffe"; with this style it is 4.09.
        style="pytorch",
        zero_init_residual=False,  # F: the last BatchNorm of a block starts at 1; mmpretrain's default is 0
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=2048,
        init_cfg=None,  # F: nn.Linear's own start; mmpretrain's default is N(0, 0.01)
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
)
