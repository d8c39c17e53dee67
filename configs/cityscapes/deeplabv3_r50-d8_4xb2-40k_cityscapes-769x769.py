_base_ = [
    "../_base_/models/deeplabv3_r50-d8.py",
    "../_base_/datasets/cityscapes_769x769.py",
    "../_base_/default_runtime_cityscapes.py",
    "../_base_/schedules/schedule_40k.py",
]
crop_size = (769, 769)
data_preprocessor = dict(size=crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    decode_head=dict(align_corners=True),
    auxiliary_head=dict(align_corners=True),
    test_cfg=dict(mode="slide", crop_size=crop_size, stride=(513, 513)),
)
