# Table 2, and Table 3 on the right.
_base_ = [
    "../_base_/models/resnet50_imagenet.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/schedule_90e.py",
    "../_base_/default_runtime_imagenet.py",
]
