_base_ = "./resnet18_1xb4-2_mini-imagenet-32x32_instant_test.py"
custom_imports = dict(imports=["ffc_dense.classification"], allow_failed_imports=False)
model = dict(head=dict(type="FFCLinearClsHead"))
