_base_ = "./deeplabv3_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
custom_imports = dict(imports=["ffc_dense.segmentation"], allow_failed_imports=False)
model = dict(decode_head=dict(type="FFCASPPHead"))
