# mmseg's default runtime, and a check of the initial weights before the first iteration (docs/how-to/weights.md).
_base_ = "./default_runtime.py"
env_cfg = dict(cudnn_benchmark=True)
custom_hooks = [dict(type="InitialWeightsHook")]
