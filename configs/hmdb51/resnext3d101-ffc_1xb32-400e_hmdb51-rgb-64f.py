_base_ = "./resnext3d101_1xb32-400e_hmdb51-rgb-64f.py"
model = dict(head=dict(type="FFCLinearClsHead"))
