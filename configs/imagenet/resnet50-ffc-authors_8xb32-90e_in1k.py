# F: what the authors' code computes, where the paper describes seven outputs and a vote: the four stages alone,
# averaged in training and in testing. U: which of the two the paper's numbers are of.
_base_ = "./resnet50-ffc_8xb32-90e_in1k.py"
model = dict(head=dict(interpolate=False, test_reduce="mean"))
