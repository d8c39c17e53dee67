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

    Beside the result, the vote holds a label and a confidence per output and the softmax of one output at a time.

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
    per_output = [_ballot(logits, class_dim - 1) for logits in outputs.detach().unbind(0)]
    labels, confidences = map(torch.stack, zip(*per_output, strict=True))
    index = _elect(labels, confidences)
    winner = index.unsqueeze(class_dim - 1).unsqueeze(0)
    shape = list(outputs.shape)
    shape[0] = 1
    return outputs.gather(0, winner.expand(shape)).squeeze(0), index


def _ballot(logits: Tensor, class_dim: int) -> tuple[Tensor, Tensor]:
    """One output's vote and confidence: (..., K, ...) logits -> integer label, fp32 or fp64 confidence."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.shape[class_dim] == 1:
        logit = logits.squeeze(class_dim)
        return (logit > 0).byte(), logit.abs().sigmoid().nan_to_num(nan=0.0)  # max(p, 1 - p) = sigmoid(|logit|)
    top, below, label = find_maximum(logits, class_dim)
    # softmax at the maximum; not exp(top - logsumexp), which rounds at the size of the logits and loses small margins
    confidence = below.exp_().sum(class_dim).reciprocal()
    return label, confidence * (top.abs() < _infinity(top.dtype)).squeeze(class_dim)


def _elect(labels: Tensor, confidences: Tensor) -> Tensor:
    """Labels and confidences (M, ...) -> int64 index (...) of the winning output."""
    votes = torch.zeros_like(labels, dtype=torch.uint8 if len(labels) < 256 else torch.int64)
    for label in labels:
        votes += labels == label
    lacking = votes.amax(0) - votes
    # The elected keep their confidence, which is in [0, 1]; the others fall below 0.
    return find_maximum(torch.sub(confidences, lacking, alpha=2), 0)[2].long()


def find_maximum(values: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first maximum along ``dim``, faster on CPU than ``values.max(dim)``.

    As for ``values.max``, a NaN is the largest value and +inf the next. Both are replaced by the largest finite
    numbers, -inf by the smallest, so no result is NaN.

    Returns:
        top: the maximum, with ``dim`` kept at size 1.
        below: ``values - top``.
        index: of the first maximum, without ``dim``, of any integer dtype.
    """
    values = values.nan_to_num(nan=torch.finfo(values.dtype).max, posinf=_infinity(values.dtype))
    top = values.amax(dim, keepdim=True)
    below = values - top
    if not values.is_cpu or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return top, below, below.argmax(dim)
    # torch's argmax on CPU walks along a strided dimension without vector instructions. Reductions have them: a maximum
    # stands for its place, any other value for its place + size, and the smallest is the first maximum.
    size = values.shape[dim]
    places = torch.arange(size, dtype=torch.uint8 if size < 128 else torch.int32)
    places = places.view([-1] + [1] * (values.dim() - 1 - dim % values.dim()))
    return top, below, torch.add(places, below.bool().view(torch.uint8), alpha=size).amin(dim)


def _infinity(dtype: torch.dtype) -> float:
    """The second largest finite number of ``dtype``, which stands for infinity in :func:`find_maximum`."""
    largest = torch.finfo(dtype).max
    return largest * (1 - torch.finfo(dtype).eps / 2)
