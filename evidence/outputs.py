"""The logits of the outputs from the dumped logits of the stages."""

import torch
from torch import Tensor

from ffc_dense.method.filtering import interpolate_outputs

from .plan import Run


def outputs_of(stages: Tensor, run: Run) -> Tensor:
    """(S, ...) logits of the stages -> (M, ...) logits of the head's outputs, in the paper's order."""
    return torch.stack(interpolate_outputs(list(stages))) if run.interpolates else stages
