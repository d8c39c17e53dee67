"""``python fused_vote.py CASES RESULTS``: the fused vote over the cases of a file, with TRITON_INTERPRET=1 on CPU."""

import sys

import torch

from ffc_dense.segmentation.upsampled_vote_triton import vote_upsampled_fused

cases = torch.load(sys.argv[1], weights_only=True)
torch.save([vote_upsampled_fused(*case) for case in cases], sys.argv[2])
