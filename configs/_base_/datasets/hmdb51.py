# HMDB51, split 1, RGB clips of 64 frames. Other splits: train_dataloader.dataset.split=2 and test_dataloader's.
# F: found in the MARS code.
data_root = "data/hmdb51"
clip_length = 64
train_pipeline = [
    dict(type="LoadClips", length=clip_length, modality="RGB"),
    dict(type="MultiScaleCornerCrop", size=112),  # F
    dict(type="ClipFlip", prob=0.5),  # F
    dict(type="PackClips"),
]
test_pipeline = [
    dict(type="LoadClips", length=clip_length, modality="RGB", every=True),  # F
    dict(type="ClipCenterCrop", size=112),  # F
    dict(type="PackClips"),
]
train_dataloader = dict(
    batch_size=32,  # F
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="HMDB51", data_root=data_root, split=1, subset="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type="pseudo_collate"),  # videos have different numbers of clips
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="HMDB51", data_root=data_root, split=1, subset="test", test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type="Accuracy", topk=(1, 5)), dict(type="CrossEntropy")]
test_evaluator = val_evaluator
