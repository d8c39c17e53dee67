_base_ = [
    "../_base_/models/pspnet_r18-d8_mini.py",
    "../_base_/datasets/mini_cityscapes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_400.py",
]
