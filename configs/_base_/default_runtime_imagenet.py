# mmpretrain's default runtime and hooks, with a checkpoint hook and six more hooks of ours (see schedules/hooks.py).
default_scope = "mmpretrain"
custom_imports = dict(imports=["ffc_dense.classification"], allow_failed_imports=False)  # registers our hooks
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=100),
    param_scheduler=dict(type="ParamSchedulerHook"),
    # F: the authors report the best epoch. We report the last one; the best is kept beside it.
    checkpoint=dict(type="AtomicCheckpointHook", interval=1, max_keep_ckpts=3, save_best="accuracy/top1"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="VisualizationHook", enable=False),
    safe_loading=dict(type="SafeLoadingHook"),
    dataset_check=dict(type="CheckDatasetHook"),
    random_state=dict(type="RandomStateHook"),
    non_finite_loss=dict(type="NonFiniteLossHook", action="stop"),
    preemption=dict(type="PreemptionHook"),
    ffc_scalars=dict(type="FFCScalarsHook", interval=100),
)
custom_hooks = [dict(type="InitialWeightsHook")]
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="nccl")
)
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="UniversalVisualizer", vis_backends=vis_backends)
log_level = "INFO"
load_from = None
resume = False
