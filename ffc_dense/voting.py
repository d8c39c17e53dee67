"""The vote over FFC's outputs at test time (paper Fig. 3). Shape shorthand as in ``filtering.py``."""

import torch
from torch import Tensor


def vote(outputs: Tensor, class_dim: int) -> tuple[Tensor, Tensor]:
    """Elect one of M outputs for every sample or pixel and return its logits.

    Each output votes for its most likely class; the class with most votes wins. If several classes tie, the most
    confident output (highest max-softmax) among those that voted for a tied class decides. The winning output is the
    most confident one that voted for the winning class. Among outputs of equal confidence the first one wins. Logits,
    not labels, are returned, so that a softmax or sigmoid and everything behind it keeps working. An output with a NaN
    (or, if K > 1, +inf) among its logits has the least confidence; its vote counts.

    With a single class (K = 1, a sigmoid follows) an output votes with the sign of its logit (positive: > 0) and its
    confidence is max(p, 1 - p).

    Args:
        outputs: (M, ..., K, ...) logits, the outputs along dimension 0.
        class_dim: the dimension of ``outputs`` that holds the K classes; -1 for (M, N, K), -3 for (M, N, K, H, W).

    Returns:
        logits: (..., K, ...), those of the winning output.
        index: int64 (..., ...), without the class dimension: which output won, 0 for Out1.

    Raises:
        ValueError: ``outputs`` has no outputs or no classes, or ``class_dim`` is its first or no dimension.
    """
    if not -outputs.dim() <= class_dim < outputs.dim() or class_dim % outputs.dim() == 0:
        raise ValueError(f"class_dim {class_dim} is not a class dimension of outputs shaped {tuple(outputs.shape)}")
    class_dim %= outputs.dim()
    if outputs.shape[0] == 0 or outputs.shape[class_dim] == 0:
        raise ValueError(f"vote needs at least one output and one class, got shape {tuple(outputs.shape)}")
    per_output = [_ballot(logits, class_dim - 1) for logits in outputs.unbind(0)]
    labels = torch.stack([label for label, _ in per_output])
    confidences = torch.stack([confidence for _, confidence in per_output])
    votes = torch.stack([(labels == label).sum(0) for label in labels])
    elected = votes == votes.amax(0)
    index = confidences.masked_fill(~elected, -1.0).argmax(0)
    winner = index.unsqueeze(class_dim - 1).unsqueeze(0)
    shape = list(outputs.shape)
    shape[0] = 1
    return outputs.gather(0, winner.expand(shape)).squeeze(0), index


def _ballot(logits: Tensor, class_dim: int) -> tuple[Tensor, Tensor]:
    """One output's vote and confidence: (..., K, ...) logits -> int64 label, fp32 or fp64 confidence."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.shape[class_dim] == 1:
        logit = logits.squeeze(class_dim)
        return (logit > 0).long(), logit.abs().sigmoid().nan_to_num(nan=0.0)  # max(p, 1 - p) = sigmoid(|logit|)
    top, label = logits.max(class_dim, keepdim=True)
    # softmax at the maximum; not exp(top - logsumexp), which rounds at the size of the logits and loses small margins
    confidence = (logits - top).exp().sum(class_dim).reciprocal()
    return label.squeeze(class_dim), confidence.nan_to_num(nan=0.0)
