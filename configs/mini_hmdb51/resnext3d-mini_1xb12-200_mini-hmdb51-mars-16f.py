_base_ = "./resnext3d-mini_1xb12-200_mini-hmdb51-rgb-16f.py"
model = dict(
    type="MARSClassifier",
    data_preprocessor=dict(mean=[114.7748, 107.7354, 99.4750, 127.5, 127.5]),
    teacher=dict(
        type="ResNeXt3D",
        in_channels=2,
        blocks=(1, 1, 1, 1),
        planes=(32, 64, 96, 128),
        cardinality=8,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="work_dirs/resnext3d-mini_1xb12-200_mini-hmdb51-flow-16f/iter_200.pth",
            prefix="backbone",
        ),
    ),
)
train_dataloader = dict(dataset=dict(modality="RGB+flow"))
