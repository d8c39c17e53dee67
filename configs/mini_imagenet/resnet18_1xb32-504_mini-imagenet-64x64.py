_base_ = [
    "../_base_/models/resnet18_mini.py",
    "../_base_/datasets/mini_imagenet.py",
    "../_base_/default_runtime_imagenet.py",
    "../_base_/schedules/schedule_504.py",
]
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=126, max_keep_ckpts=2)
)
