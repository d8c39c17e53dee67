# Videos of 96 x 72 pixels in HMDB51's layout, written by `ffc-dense minidata hmdb51`.
_base_ = "./hmdb51.py"
small = dict(data_root="data/mini_hmdb51", clip_length=16)
train_pipeline = [
    dict(type="LoadClips"),
    dict(type="MultiScaleCornerCrop", size=40, scales=(1.0, 0.84)),  # smaller ones cut the digit away
    dict(type="ClipFlip", prob=0.5),
    dict(type="PackClips"),
]
test_pipeline = [dict(type="LoadClips", every=True), dict(type="ClipCenterCrop", size=40), dict(type="PackClips")]
train_dataloader = dict(
    batch_size=12,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(pipeline=train_pipeline, **small),
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline, **small))
test_dataloader = val_dataloader
