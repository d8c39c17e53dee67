# Table 3 on the left, "Efficient". Marks in the base files: F = found in He et al. or its logs.
_base_ = [
    "../_base_/models/resnetv1d50_imagenet.py",
    "../_base_/datasets/imagenet_tricks.py",
    "../_base_/schedules/schedule_tricks_120e.py",
    "../_base_/default_runtime_imagenet.py",
]
