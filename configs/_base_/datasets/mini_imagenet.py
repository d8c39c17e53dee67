# Images of 64 x 64 pixels in ImageNet's class folders, written by `ffc-dense minidata imagenet`.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=64),  # for images of one's own (--data); those of the mini dataset stay as they are
    dict(type="RandomCrop", crop_size=64, padding=4),
    dict(type="PackInputs"),  # no flip: a mirrored digit is another sign
]
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=64), dict(type="PackInputs")]
dataset = dict(type="CustomDataset", data_root="data/mini_imagenet")
loading = dict(
    num_workers=0, persistent_workers=False, pin_memory=False, collate_fn=dict(type="default_collate")
)  # fmt: skip
train_dataloader = dict(
    batch_size=32,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(**dataset, data_prefix="train", pipeline=train_pipeline),
    **loading,
)
val_dataloader = dict(
    batch_size=100,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, data_prefix="val", pipeline=test_pipeline),
    **loading,
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1, 5))
test_evaluator = val_evaluator
