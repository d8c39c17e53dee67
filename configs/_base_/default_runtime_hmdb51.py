_base_ = "./default_runtime_imagenet.py"
custom_imports = dict(imports=["ffc_dense.classification", "ffc_dense.video"], allow_failed_imports=False)
default_hooks = dict(dataset_check=dict(type="CheckVideosHook"))
