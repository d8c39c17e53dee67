_base_ = "./resnext3d101_1xb16-400e_hmdb51-mars-16f.py"
model = dict(head=dict(type="FFCLinearClsHead"))
