# The stock row of the paper's Table 5. What is found, inferred and unknown: see the bases.
_base_ = [
    "../_base_/models/deeplabv3_r101-d8_toolbox.py",
    "../_base_/datasets/cityscapes_769x769_toolbox.py",
    "../_base_/default_runtime_cityscapes.py",
    "../_base_/schedules/schedule_40k_toolbox.py",
]
