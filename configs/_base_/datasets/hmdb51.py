# HMDB51, split 1, RGB clips of 64 frames. In every loader dataset.split (1, 2 or 3), dataset.modality ("RGB", "flow",
# "RGB+flow") and dataset.clip_length may be set. F = found in the MARS code (craston/MARS).
data_root = "data/hmdb51"
train_pipeline = [
    dict(type="LoadClips"),
    dict(type="MultiScaleCornerCrop", size=112),  # F
    dict(type="ClipFlip", prob=0.5),  # F
    dict(type="PackClips"),
]
test_pipeline = [
    dict(type="LoadClips", every=True),  # F: all clips that do not overlap
    dict(type="ClipCenterCrop", size=112),  # F
    dict(type="PackClips"),
]
dataset = dict(type="HMDB51", data_root=data_root, split=1, modality="RGB", clip_length=64)
train_dataloader = dict(
    batch_size=32,  # F
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(subset="train", pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type="pseudo_collate"),  # videos have different numbers of clips
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(subset="test", test_mode=True, pipeline=test_pipeline, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type="Accuracy", topk=(1, 5)), dict(type="CrossEntropy")]
test_evaluator = val_evaluator
