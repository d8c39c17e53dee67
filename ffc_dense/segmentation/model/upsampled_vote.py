"""The vote of every pixel at the size of the prediction. Shape shorthand as in ``decode_head.py``."""

import torch
from torch import Tensor

from ...method.fast import devices, get_backend, threads
from ...method.voting import count_and_elect, first_argmax
from .upsampling import bilinear_strips, default_elements, strips_in_pieces

FEW_CLASSES = 8  # with fewer, labels and ballots need more memory than the logits


def comparable(winners: Tensor) -> Tensor:
    """Logits (N, K, ...) of different outputs -> log-probabilities, at least fp32; K = 1 stays as it is.

    The winner's class is raised by one or two units in the last place: subtracting log(sum(exp)) can round it onto
    another class, and then argmax would not give the label that was elected.
    """
    if winners.shape[1] == 1:
        return winners
    log_prob = winners.log_softmax(1, torch.promote_types(winners.dtype, torch.float32))
    label = first_argmax(winners.detach(), 1).unsqueeze(1)
    return log_prob.scatter(1, label, _raised(log_prob.gather(1, label)))


def vote_once(outputs: Tensor, agreement: Tensor | None = None) -> Tensor:
    """Vote at the outputs' own size.

    Args:
        outputs: (M, N, K, ...) logits.
        agreement: (N, 1, ...) fp32, overwritten with the share of the M outputs that voted as the winner.

    Returns:
        (N, K, ...): what :func:`comparable` makes of the winners.
    """
    index, _, _, votes = count_and_elect(outputs, 2)
    if agreement is not None:
        torch.div(votes.unsqueeze(1), len(outputs), out=agreement)
    winner = index.unsqueeze(1).unsqueeze(0).expand(1, *outputs.shape[1:])
    return comparable(outputs.gather(0, winner).squeeze(0))


def vote_upsampled(
    outputs: Tensor, size: tuple[int, int], align_corners: bool, agreement: Tensor | None = None
) -> Tensor:
    """Upsample the logits of all outputs, vote at every pixel, and return what :func:`comparable` makes of the winners.

    The outputs are upsampled and voted on a strip of rows at a time. On the CPU, beside the result, there is no map of
    its size; on other devices a strip is as large as :func:`ffc_dense.method.fast.devices.chunk_bytes` says and the
    temporaries are at most 2.4 times that.

    Args:
        outputs: (M, N, K, h, w) logits.
        size: (H, W).
        align_corners: of the bilinear interpolation.
        agreement: (N, 1, H, W) fp32, overwritten with the share of the M outputs that voted as the winner.

    Returns:
        (N, K, H, W). No gradient flows.
    """
    outputs = outputs.detach()
    _, images, classes = outputs.shape[:3]
    if outputs.is_cuda and classes > 1 and outputs.dtype != torch.float64 and get_backend() == "triton":
        from .upsampled_vote_triton import vote_upsampled_fused

        return vote_upsampled_fused(outputs, size, align_corners, agreement)
    dtype = outputs.dtype if classes == 1 else torch.promote_types(outputs.dtype, torch.float32)
    result = outputs.new_empty(images, classes, *size, dtype=dtype)
    if not devices.is_cpu(outputs):
        elements = max(1, default_elements(outputs) * classes // max(classes, FEW_CLASSES))
        for rows, strip in bilinear_strips(outputs, size, align_corners, elements):
            counted = None if agreement is None else agreement[:, :, rows]
            result[:, :, rows] = vote_once(strip, counted)
            del strip  # before the next one is made
        return result
    # A look whether infinities have to be replaced saves a pass over every strip.
    largest = torch.finfo(outputs.dtype).max / 4
    finite = classes > 1 and outputs.numel() > 0 and all(bool(each.abs() < largest) for each in outputs.aminmax())

    def work(piece) -> None:
        image, strips = piece
        for rows, strip in strips:
            counted = None if agreement is None else agreement[image : image + 1, :, rows]
            if finite:
                votes = _write_log_prob(result[image, :, rows], strip.to(dtype))
                if counted is not None:
                    torch.div(votes, len(outputs), out=counted[0, 0])
            else:
                result[image, :, rows] = vote_once(strip.unsqueeze(1), counted)[0]

    pieces = [(i, strips) for i in range(images) for strips in strips_in_pieces(outputs[:, i], size, align_corners)]
    threads.run(work, pieces)
    return result


def _write_log_prob(target: Tensor, strip: Tensor) -> Tensor:
    """Finite logits (M, K, rows, W) -> the winners' log-probabilities in ``target`` (K, rows, W); returns the votes."""
    index, label, confidence, votes = count_and_elect(strip, 1, finite=True)
    torch.gather(strip, 0, index.expand(1, *target.shape), out=target.unsqueeze(0))
    log_confidence = confidence.log_()  # the log-probability of the elected class
    target.sub_(target.amax(0)).add_(log_confidence)
    target.scatter_(0, label.unsqueeze(0), _raised(log_confidence).unsqueeze(0))
    return votes


def _raised(log_prob: Tensor) -> Tensor:
    return log_prob * (1 - torch.finfo(log_prob.dtype).eps)  # log-probabilities are negative
