_base_ = "./resnet34_8xb32-90e_in1k.py"
custom_imports = dict(imports=["ffc_dense.classification"], allow_failed_imports=False)
model = dict(head=dict(type="FFCLinearClsHead"))
