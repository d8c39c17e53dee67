_base_ = "./resnetv1d50_8xb128-200e-cosine-smooth-mixup_in1k.py"
custom_imports = dict(imports=["ffc_dense.classification"], allow_failed_imports=False)
model = dict(head=dict(type="FFCLinearClsHead"))
