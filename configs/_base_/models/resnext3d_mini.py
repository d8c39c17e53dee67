# A 3D ResNeXt with one block a stage for the mini HMDB51 set on a CPU.
model = dict(
    type="VideoClassifier",
    data_preprocessor=dict(type="ClipPreprocessor", mean=[114.7748, 107.7354, 99.4750]),
    backbone=dict(type="ResNeXt3D", in_channels=3, blocks=(1, 1, 1, 1), planes=(32, 64, 96, 128), cardinality=8),
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(type="LinearClsHead", num_classes=6, in_channels=256),
)
