# Table 3 on the left, "+ label smoothing".
_base_ = "./resnetv1d50_8xb128-120e-cosine_in1k.py"
model = dict(head=dict(loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=0.1, loss_weight=1.0)))  # F
