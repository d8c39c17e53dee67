"""The vote at the size of the prediction as one GPU kernel: interpolation, vote and log-probabilities per pixel.

Shape shorthand as in ``decode_head.py``. The kernel reads the small maps twice and writes the result once. It was
tested with Triton's interpreter; it has not run or been timed on a GPU, so ``upsampled_vote.py`` leaves it off.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # pixels of a row for each program
NAN = tl.constexpr(torch.finfo(torch.float32).max)  # finite stand-ins, as in voting.replace_infinite
INFINITY = tl.constexpr(torch.finfo(torch.float32).max * (1 - torch.finfo(torch.float32).eps / 2))


def vote_upsampled_fused(
    outputs: Tensor, size: tuple[int, int], align_corners: bool, agreement: Tensor | None = None
) -> Tensor:
    """As :func:`ffc_dense.segmentation.model.upsampled_vote.vote_upsampled`, for K > 1.

    The logits are interpolated and the confidences summed in fp32, with one running maximum per output: rounding
    differs from the plain version in the last places.

    Args:
        outputs: (M, N, K, h, w) fp32, fp16 or bf16 logits.
        size: (H, W).
        align_corners: of the bilinear interpolation.
        agreement: (N, 1, H, W) contiguous fp32, overwritten with the share of the M outputs that voted as the winner.

    Returns:
        (N, K, H, W) fp32 log-probabilities of the winners. No gradient flows.

    Raises:
        TypeError: the logits are of another dtype.
        ValueError: K = 1.
    """
    if outputs.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"the fused vote takes fp32, fp16 or bf16 logits, got {outputs.dtype}")
    outputs = outputs.detach().contiguous()
    num_outputs, images, classes, h, w = outputs.shape
    if classes == 1:
        raise ValueError("the fused vote needs more than one class")
    height, width = size
    result = outputs.new_empty(images, classes, height, width, dtype=torch.float32)
    grid = (triton.cdiv(width, BLOCK), height, images)
    _vote_kernel[grid](
        outputs,
        result,
        result if agreement is None else agreement,
        _scale(h, height, align_corners),
        _scale(w, width, align_corners),
        num_outputs,
        classes,
        h,
        w,
        width,
        1 - torch.finfo(torch.float32).eps,
        ALIGN_CORNERS=align_corners,
        COUNT=agreement is not None,
        M_BLOCK=triton.next_power_of_2(num_outputs),
        BLOCK=BLOCK,
    )
    return result


def _scale(source: int, target: int, align_corners: bool) -> float:
    if align_corners:
        return (source - 1) / (target - 1) if target > 1 else 0.0
    return source / target


@triton.jit
def _taps(target, scale, source, ALIGN_CORNERS: tl.constexpr):
    """Two source positions and the weight of the second."""
    position = target.to(tl.float32)
    position = scale * position if ALIGN_CORNERS else tl.maximum(scale * (position + 0.5) - 0.5, 0.0)
    first = tl.minimum(position.to(tl.int32), source - 1)
    return first, tl.minimum(first + 1, source - 1), tl.minimum(position - first.to(tl.float32), 1.0)


@triton.jit
def _interpolate(planes, above, below, left, right, weight_y, weight_x, mask):
    """Logits at some pixels, rounded to the dtype of the maps as the stock interpolation rounds them."""
    a = tl.load(planes + above + left, mask, 0.0).to(tl.float32)
    b = tl.load(planes + above + right, mask, 0.0).to(tl.float32)
    c = tl.load(planes + below + left, mask, 0.0).to(tl.float32)
    d = tl.load(planes + below + right, mask, 0.0).to(tl.float32)
    upper = a * (1 - weight_x) + b * weight_x
    lower = c * (1 - weight_x) + d * weight_x
    value = upper * (1 - weight_y) + lower * weight_y
    return value.to(planes.dtype.element_ty).to(tl.float32)


@triton.jit
def _finite(value):
    """The logit, or the finite number that stands for it in the order NaN > infinity > every number."""
    value = tl.where(value != value, NAN, tl.minimum(value, INFINITY))
    return tl.maximum(value, -NAN)


@triton.jit
def _vote_kernel(
    maps,
    result,
    agreement,
    scale_y,
    scale_x,
    num_outputs,
    classes,
    h,
    w,
    width,
    raising,
    ALIGN_CORNERS: tl.constexpr,
    COUNT: tl.constexpr,
    M_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    y, image = tl.program_id(1), tl.program_id(2)
    height, images = tl.num_programs(1), tl.num_programs(2)
    x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = x < width
    left, right, weight_x = _taps(x, scale_x, w, ALIGN_CORNERS)
    above, below, weight_y = _taps(y, scale_y, h, ALIGN_CORNERS)
    above, below, plane = above * w, below * w, h * w

    # Votes and confidences: one running maximum, its class and its sum of exponentials for each output and pixel.
    m = tl.arange(0, M_BLOCK)
    exists = (m < num_outputs)[:, None]
    mask = exists & inside[None, :]
    planes = maps + ((m.to(tl.int64) * images + image) * classes * plane)[:, None]
    top = tl.full([M_BLOCK, BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([M_BLOCK, BLOCK], tl.float32)
    label = tl.zeros([M_BLOCK, BLOCK], tl.int32)
    for k in range(classes):
        value = _interpolate(
            planes + k * plane, above, below, left[None, :], right[None, :], weight_y, weight_x[None, :], mask
        )
        value = _finite(value)
        higher = tl.maximum(top, value)
        total = total * tl.exp(top - higher) + tl.exp(value - higher)
        label = tl.where(value > top, k, label)
        top = higher

    # The vote, as in voting.py.
    agree = (label[:, None, :] == label[None, :, :]) & exists[None, :, :]
    votes = tl.where(exists, tl.sum(agree.to(tl.int32), axis=1), 0)
    elected = exists & (votes == tl.max(votes, axis=0)[None, :])
    confidence = tl.where(elected, tl.where(tl.abs(top) < INFINITY, 1 / total, 0.0), -1.0)
    surest = confidence == tl.max(confidence, axis=0)[None, :]
    index = tl.min(tl.where(surest, m[:, None], M_BLOCK), axis=0)
    won = m[:, None] == index[None, :]
    if COUNT:
        share = tl.max(votes, axis=0).to(tl.float32) / num_outputs
        tl.store(agreement + (image.to(tl.int64) * height + y) * width + x, share, inside)
    label = tl.sum(tl.where(won, label, 0), axis=0)
    top = tl.sum(tl.where(won, top, 0.0), axis=0)
    log_confidence = -tl.log(tl.sum(tl.where(won, total, 0.0), axis=0))
    log_confidence = tl.where(tl.abs(top) < INFINITY, log_confidence, float("nan"))  # as log_softmax has it

    # The winners' log-probabilities, the class that won raised as in upsampled_vote.comparable.
    planes = maps + (index.to(tl.int64) * images + image) * classes * plane
    target = result + (image.to(tl.int64) * classes * height + y) * width + x
    for k in range(classes):
        value = _interpolate(planes + k * plane, above, below, left, right, weight_y, weight_x, inside)
        log_prob = tl.where(k == label, log_confidence * raising, value - top + log_confidence)
        tl.store(target, log_prob, inside)
        target += height * width
