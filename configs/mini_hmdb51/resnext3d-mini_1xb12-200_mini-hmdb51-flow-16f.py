_base_ = "./resnext3d-mini_1xb12-200_mini-hmdb51-rgb-16f.py"
model = dict(data_preprocessor=dict(mean=[127.5, 127.5]), backbone=dict(in_channels=2))
train_dataloader = dict(dataset=dict(modality="flow"))
val_dataloader = dict(dataset=dict(modality="flow"))
test_dataloader = val_dataloader
