# ImageNet-1k in data/imagenet (train/WNID/*.JPEG, val/WNID/*.JPEG), read as the authors' code reads it.
#
# Marks: F = found in seominseok0429/Sequential-Feature-Filtering-Classifier (main.py, resnet.py), I = inferred,
# U = unknown.
dataset_type = "ImageNet"
data_root = "data/imagenet"
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=224, backend="pillow"),  # F: 8 to 100 % of the area, aspect 3/4 to 4/3
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),  # F
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=256, edge="short", backend="pillow"),  # F; torchvision resizes with PIL
    dict(type="CenterCrop", crop_size=224),  # F
    dict(type="PackInputs"),
]
# The defaults of mmpretrain's train.py are written out: our commands do not run it.
loading = dict(num_workers=5, persistent_workers=True, pin_memory=True, collate_fn=dict(type="default_collate"))
train_dataloader = dict(
    batch_size=32,  # F: 256 in all. U: on how many GPUs, each of which normalises its own share; here 8
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, split="train", pipeline=train_pipeline),
    **loading,
)
val_dataloader = dict(
    batch_size=32,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split="val", pipeline=test_pipeline),
    **loading,
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1, 5))
test_evaluator = val_evaluator
