# ResNet-18 at a quarter of its width, for a CPU.
_base_ = "./resnet50_imagenet.py"
model = dict(
    data_preprocessor=dict(num_classes=10),
    backbone=dict(depth=18, stem_channels=16, base_channels=16),
    head=dict(num_classes=10, in_channels=128),
)
