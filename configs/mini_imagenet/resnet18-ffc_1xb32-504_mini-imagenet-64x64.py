_base_ = "./resnet18_1xb32-504_mini-imagenet-64x64.py"
custom_imports = dict(imports=["ffc_dense.classification"], allow_failed_imports=False)
model = dict(head=dict(type="FFCLinearClsHead"))
