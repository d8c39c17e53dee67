"""``python fused_vote.py CASES RESULTS``: the fused vote over the cases of a file, with TRITON_INTERPRET=1 on CPU.

Of a case that ends in True, the agreement too.
"""

import sys

import torch

from ffc_dense.segmentation.model.upsampled_vote_triton import vote_upsampled_fused


def fused(outputs, size, align_corners, count=False):
    if not count:
        return vote_upsampled_fused(outputs, size, align_corners)
    agreement = outputs.new_empty(outputs.shape[1], 1, *size)
    return vote_upsampled_fused(outputs, size, align_corners, agreement), agreement


cases = torch.load(sys.argv[1], weights_only=True)
torch.save([fused(*case) for case in cases], sys.argv[2])
