_base_ = [
    "../_base_/models/resnext3d_mini.py",
    "../_base_/datasets/mini_hmdb51.py",
    "../_base_/default_runtime_hmdb51.py",
    "../_base_/schedules/schedule_mini_hmdb51.py",
]
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=100, max_keep_ckpts=2)
)
