_base_ = "./resnext3d-mini_1xb12-200_mini-hmdb51-flow-16f.py"
model = dict(head=dict(type="FFCLinearClsHead"))
