"""FFC in NumPy, in float64 and elementary operations, from the paper's words; it shares no code with the package.

The torch twin is ``ffc_dense.method.literal``. Shape shorthand: M outputs, K classes, S samples or pixels.
"""

from itertools import pairwise

import numpy as np


def outputs(layer, x) -> np.ndarray:
    """(M, ..., K) of an FFC layer for features x (..., C), the features last whatever the layer: Out1, Out2, ..."""
    weight, bias = (None if each is None else each.detach().double().numpy() for each in (layer.weight, layer.bias))
    stages = [np.asarray(x, dtype=np.float64)]
    for norm in layer.filters:
        centred = stages[-1] - stages[-1].mean(-1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + norm.eps)
        scale, shift = (each.detach().double().numpy() for each in (norm.weight, norm.bias))
        stages.append(np.maximum(centred / deviation * scale + shift, 0))
    features = [stages[0]]
    for previous, current in pairwise(stages):
        features += [(previous + current) / 2, current] if layer.interpolate else [current]
    return np.stack([each @ weight.reshape(len(weight), -1).T + (0 if bias is None else bias) for each in features])


def samples(stacked, class_dim: int) -> np.ndarray:
    """(M, ..., K, ...) outputs -> (S, M, K): the logits of every sample or pixel, in order."""
    last = np.moveaxis(stacked.detach().double().numpy(), class_dim, -1)
    return last.reshape(len(last), -1, last.shape[-1]).swapaxes(0, 1)


def ballots(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S, M, K) -> label and confidence (S, M) of every output."""
    count, num_outputs, num_classes = logits.shape
    if num_classes == 1:
        logit = logits[..., 0]
        positive = np.zeros(logit.shape, dtype=int)
        positive[logit > 0] = 1
        p = 1 / (1 + np.exp(-np.where(np.isnan(logit), 0, np.abs(logit))))
        return positive, np.where(np.isnan(logit), 0.0, p)
    labels = np.zeros((count, num_outputs), dtype=int)
    best = logits[..., 0].copy()
    for k in range(1, num_classes):  # the first NaN, else the first maximum
        better = ~np.isnan(best) & (np.isnan(logits[..., k]) | (logits[..., k] > best))
        labels[better], best[better] = k, logits[..., k][better]
    known = np.isfinite(best)  # a NaN, a +inf, or nothing but -inf leaves no probability
    top = np.where(known, best, 0.0)
    total = sum(np.exp(np.where(known, logits[..., k], 0.0) - top) for k in range(num_classes))
    return labels, np.where(known, 1 / total, 0.0)


def election(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(S, M, K) -> (S, M): which outputs are electable, the confidence of each, its label."""
    labels, confidence = ballots(logits)
    num_outputs = labels.shape[1]
    votes = np.zeros_like(labels)
    for m in range(num_outputs):
        for other in range(num_outputs):
            votes[:, m] += labels[:, other] == labels[:, m]
    # With one class ahead they are its voters, with a tie the voters of every tied class: the most confident wins.
    return votes == votes.max(1, keepdims=True), confidence, labels


def first_winner(electable: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(S,): the most confident electable output; the first of several."""
    return np.where(electable, confidence, -1.0).argmax(1)


def winners(logits, rounding: float = 0.0) -> list[list[int]]:
    """(S, M, K) -> of each sample the outputs that may win, in order; the first wins if nothing is rounded.

    rounding: confidences that differ by no more than this count as equal.
    """
    electable, confidence, _ = election(np.asarray(logits, dtype=np.float64))
    best = np.where(electable, confidence, -1.0).max(1, keepdims=True)
    return [np.flatnonzero(row).tolist() for row in electable & (confidence >= best - rounding)]
