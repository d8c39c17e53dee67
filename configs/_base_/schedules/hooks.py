# mmseg's default hooks, with a checkpoint hook of ours, and six hooks of ours more (SECURITY.md for the first,
# docs/how-to/outputs.md for the last, docs/how-to/resume.md).
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="AtomicCheckpointHook", by_epoch=False),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="SegVisualizationHook"),
    safe_loading=dict(type="SafeLoadingHook"),
    dataset_check=dict(type="CheckDatasetHook"),
    random_state=dict(type="RandomStateHook"),
    non_finite_loss=dict(type="NonFiniteLossHook", action="stop"),
    preemption=dict(type="PreemptionHook"),
    ffc_scalars=dict(type="FFCScalarsHook", interval=100),
)
