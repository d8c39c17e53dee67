_base_ = "./deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py"
custom_imports = dict(imports=["ffc_dense.segmentation"], allow_failed_imports=False)
model = dict(decode_head=dict(type="FFCASPPHead"))
