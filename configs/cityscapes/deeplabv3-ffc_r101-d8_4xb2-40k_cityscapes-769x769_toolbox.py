# The FFC row of the paper's Table 5: three filters on the decode head's classifier alone (I), after the dropout (F).
_base_ = "./deeplabv3_r101-d8_4xb2-40k_cityscapes-769x769_toolbox.py"
custom_imports = dict(imports=["ffc_dense.segmentation"], allow_failed_imports=False)
model = dict(decode_head=dict(type="FFCNarrowASPPHead"))
