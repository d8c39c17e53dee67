_base_ = "./deeplabv3_r18-d8_1xb2-4_mini-cityscapes-128x128_toolbox_instant_test.py"
custom_imports = dict(imports=["ffc_dense.segmentation"], allow_failed_imports=False)
model = dict(decode_head=dict(type="FFCNarrowASPPHead"))
