"""The vote over FFC's outputs at test time (paper Fig. 3). Shape shorthand as in ``filtering.py``."""

import torch
from torch import Tensor

from .checks import check_dim, check_feature
from .fast import devices

GROUP_ELEMENTS = 2**18  # logits for each CPU thread whose ballots are taken at once: what a core's cache holds
COMPARED = 16  # labels that are compared with all others at once: bounds the memory of many outputs


def reduce_outputs(outputs: Tensor, name: str, class_dim: int = -1) -> Tensor:
    """What a test reduction makes of the logits of every output: (M, ..., K, ...) -> (..., K, ...).

    Args:
        outputs, class_dim: as in :func:`vote`.
        name: 'vote', 'mean' or a single output, 'out1' ... 'outM'.
    """
    if name == "vote":
        return vote(outputs, class_dim)[0]
    return outputs.mean(0) if name == "mean" else outputs[int(name.removeprefix("out")) - 1]


def vote(outputs: Tensor, class_dim: int) -> tuple[Tensor, Tensor]:
    """Elect one of M outputs for every sample or pixel and return its logits.

    Each output votes for its most likely class; the class with most votes wins. If several classes tie, the most
    confident output (highest max-softmax) among those that voted for a tied class decides. The winning output is the
    most confident one that voted for the winning class. Among outputs of equal confidence the first one wins. Logits,
    not labels, are returned, so that a softmax or sigmoid and everything behind it keeps working.

    With a single class (K = 1, a sigmoid follows) an output votes with the sign of its logit (positive: > 0) and its
    confidence is max(p, 1 - p).

    Logits that are not finite: an output votes for its first NaN, else for its first maximum (+inf above every number,
    -inf below); with K = 1 a NaN votes negative. That vote counts like any other, but its confidence is 0 if the
    logit of its class is no finite number (K = 1: a NaN), so that it wins only if all who voted for the elected class
    are of its kind.

    Order: neither samples, pixels nor outputs are treated by their place, except that of equal logits the first class
    gets the vote and of equally confident outputs the first one wins. Confidences are sums in fp32 (fp64 for fp64
    logits); which of two that differ by rounding alone is the higher one may depend on the order of the classes and on
    the place in the tensor.

    Beside the result, the vote holds a label and a confidence per output and the softmax of one output at a time.

    Args:
        outputs: (M, ..., K, ...) logits, the outputs along dimension 0.
        class_dim: the dimension of ``outputs`` that holds the K classes; -1 for (M, N, K), -3 for (M, N, K, H, W).

    Returns:
        logits: (..., K, ...), those of the winning output.
        index: int64 (..., ...), without the class dimension: which output won, 0 for Out1.

    Raises:
        TypeError: ``outputs`` is no dense floating-point tensor, or ``class_dim`` no integer.
        ValueError: ``outputs`` has no outputs or no classes, or ``class_dim`` is its first or no dimension.
    """
    check_feature("outputs", outputs)
    check_dim("class_dim", class_dim)
    if not -outputs.dim() <= class_dim < outputs.dim() or class_dim % outputs.dim() == 0:
        raise ValueError(f"class_dim {class_dim} is not a class dimension of outputs shaped {tuple(outputs.shape)}")
    class_dim %= outputs.dim()
    if outputs.shape[0] == 0 or outputs.shape[class_dim] == 0:
        raise ValueError(f"vote needs at least one output and one class, got shape {tuple(outputs.shape)}")
    index = elect(outputs, class_dim)[0]
    winner = index.unsqueeze(class_dim - 1).unsqueeze(0)
    shape = list(outputs.shape)
    shape[0] = 1
    return outputs.gather(0, winner.expand(shape)).squeeze(0), index


def elect(outputs: Tensor, class_dim: int, finite: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The election alone, without the winner's logits. Arguments as in :func:`vote`, ``class_dim`` > 0.

    Args:
        finite: the caller knows that every logit is finite, which saves a pass over them.

    Returns:
        index, label, confidence (..., ...): which output won, the class that it voted for (int64; with K = 1 whether
        its logit is positive) and its confidence (fp32 or fp64).
    """
    return count_and_elect(outputs, class_dim, finite)[:3]


def count_and_elect(outputs: Tensor, class_dim: int, finite: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`elect`, and (..., ...) how many outputs voted as the winner did, an integer of 1 to M."""
    if not devices.is_cpu(outputs) or devices.is_recorded():
        group = len(outputs)  # few large operations; and what is recorded must not depend on the size of this batch
    else:
        group = max(1, GROUP_ELEMENTS * torch.get_num_threads() // max(1, outputs[0].numel()))
    ballots = [_ballot(logits, class_dim, finite) for logits in outputs.detach().split(group)]
    if len(ballots) == 1:
        return count_ballots(*ballots[0])
    return count_ballots(*map(torch.cat, zip(*ballots, strict=True)))


def count_ballots(labels: Tensor, confidences: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`count_and_elect` for ballots that are known: integer labels and confidences in [0, 1], both (M, ...)."""
    integer = torch.uint8 if len(labels) < 256 else torch.int64
    if devices.is_onnx():  # below opset 14 ONNX adds no bytes, below 11 it compares none
        labels, integer = labels.long(), torch.int64
    if devices.is_cpu(labels):  # a sum of bytes along the first dimension has no vector instructions there
        votes = torch.zeros_like(labels, dtype=integer)
        for label in labels:
            votes += labels == label
    else:
        counted = [(group.unsqueeze(1) == labels).sum(1, dtype=integer) for group in labels.split(COMPARED)]
        votes = counted[0] if len(counted) == 1 else torch.cat(counted)
    most = votes.amax(0)
    lacking = most - votes
    # The elected keep their confidence, which is in [0, 1]; the others fall below 0.
    standing = torch.sub(confidences, lacking, alpha=2)
    winner = first_argmax(standing, 0, finite=True).unsqueeze(0)
    label, confidence = labels.gather(0, winner).squeeze(0), confidences.gather(0, winner).squeeze(0)
    return winner.squeeze(0), label.long(), confidence, most


def _ballot(logits: Tensor, class_dim: int, finite: bool) -> tuple[Tensor, Tensor]:
    """Votes and confidences of some outputs: (..., K, ...) logits -> integer labels, fp32 or fp64 confidences."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.shape[class_dim] == 1:
        logit = logits.squeeze(class_dim)
        return (logit > 0).byte(), logit.abs().sigmoid().nan_to_num(nan=0.0)  # max(p, 1 - p) = sigmoid(|logit|)
    if not devices.is_cpu(logits) and not devices.is_recorded():
        # argmax takes the first NaN, else the first maximum. Where that is no finite number, the softmax is all NaN.
        return logits.argmax(class_dim), logits.softmax(class_dim).amax(class_dim).nan_to_num_(nan=0.0)
    top, below, label = first_maximum(logits if finite else replace_infinite(logits), class_dim)
    # softmax at the maximum; not exp(top - logsumexp), which rounds at the size of the logits and loses small margins
    confidence = below.exp_().sum(class_dim).reciprocal()
    return label, confidence if finite else confidence * (top.abs() < _infinity(top.dtype)).squeeze(class_dim)


def first_maximum(values: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first maximum of finite values along ``dim``, faster on CPU than ``values.max(dim)``.

    Returns:
        top: the maximum, with ``dim`` kept at size 1.
        below: ``values - top``.
        index: of the first maximum, without ``dim``, of any integer dtype.
    """
    top = values.amax(dim, keepdim=True)
    below = values - top
    if not devices.is_cpu(values) or devices.is_recorded():
        return top, below, below.argmax(dim)
    # torch's argmax on CPU walks along a strided dimension without vector instructions. Reductions have them: a maximum
    # stands for its place, any other value for its place + size, and the smallest is the first maximum.
    size = values.shape[dim]
    places = torch.arange(size, dtype=torch.uint8 if size < 128 else torch.int32)
    places = places.view([-1] + [1] * (values.dim() - 1 - dim % values.dim()))
    return top, below, torch.add(places, below.bool().view(torch.uint8), alpha=size).amin(dim)


def first_argmax(values: Tensor, dim: int, finite: bool = False) -> Tensor:
    """The place of the first NaN along ``dim``, else of the first maximum: int64, without ``dim``.

    Args:
        finite: the caller knows that every value is finite.
    """
    if not (devices.is_cpu(values) or devices.is_recorded()):
        return values.argmax(dim)
    return first_maximum(values if finite else replace_infinite(values), dim)[2].long()


def replace_infinite(values: Tensor) -> Tensor:
    """Finite values in the order of ``values.max``: NaN (the largest finite number) > +inf (the next) > ... > -inf."""
    return values.nan_to_num(nan=torch.finfo(values.dtype).max, posinf=_infinity(values.dtype))


def _infinity(dtype: torch.dtype) -> float:
    """The second largest finite number of ``dtype``, which stands for infinity."""
    return torch.finfo(dtype).max * (1 - torch.finfo(dtype).eps / 2)
