# 3D ResNeXt-101 on RGB clips of 64 x 112 x 112. F: found in the MARS code (craston/MARS).
model = dict(
    type="VideoClassifier",
    data_preprocessor=dict(type="ClipPreprocessor", mean=[114.7748, 107.7354, 99.4750]),  # F: of ActivityNet, in RGB
    backbone=dict(type="ResNeXt3D", in_channels=3, frozen_stages=3),  # F: stage 4 and the classifier are trained
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(
        type="LinearClsHead",
        num_classes=51,
        in_channels=2048,
        # torch's own initialisation of a Linear, as in MARS: F.
        init_cfg=dict(type="Uniform", layer="Linear", a=-(2048**-0.5), b=2048**-0.5),
    ),
)
