# Cityscapes as the toolbox reads it. Marks as in ../models/pspnet_r101-d8_toolbox.py.
_base_ = "./cityscapes.py"
crop_size = (769, 769)  # F; the paper says 768 (I: the same crop, rounded)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(  # F: 0.7, 0.8, ..., 2.1 with equal probability, of the image's own size
        type="RandomChoice",
        transforms=[[dict(type="Resize", scale_factor=tenths / 10, keep_ratio=True)] for tenths in range(7, 22)],
    ),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=1.0),  # F: any crop is taken
    dict(type="RandomFlip", prob=0.5),  # F
    dict(type="PackSegInputs"),  # F: no photometric distortion
]
test_pipeline = [
    dict(type="LoadImageFromFile"),  # F: no resize, one scale, no flip
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))  # F: 8 images on 4 GPUs
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))  # F: the 500 images of val
test_dataloader = val_dataloader
