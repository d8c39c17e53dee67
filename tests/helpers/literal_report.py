"""The report of an analysis counted over all decisions at once, and its comparison with one that was streamed.

M outputs, P decisions. Independent of ``ffc_dense.inspection``.
"""

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
import torch

NAMES = [*(f"out{i}" for i in range(1, 8)), "mean", "vote"]
FEATURES = ["F0", "(F0+F1)/2", "F1", "(F1+F2)/2", "F2", "(F2+F3)/2", "F3"]
SHARES = ("accuracy", "changed", "fixed", "broken", "won", "ece")


def features(stages):
    """[F0, F1, ...] -> [F0, (F0 + F1) / 2, F1, ...], what the outputs classify."""
    return [stages[0], *(each for one, two in pairwise(stages) for each in ((one + two) / 2, two))]


def reliability(pairs, bins=15):
    """[(count, mean confidence, accuracy)] of (confidence, right) pairs: bin b is (b / bins, (b + 1) / bins]."""
    upper, inside = [(b + 1) / bins for b in range(bins)], [[] for _ in range(bins)]
    for confidence, right in pairs:
        inside[bisect_left(upper, confidence)].append((confidence, right))
    means = [[math.fsum(values) / len(each) for values in zip(*each, strict=True)] or (None, None) for each in inside]
    return [(len(each), *mean) for each, mean in zip(inside, means, strict=True)]


def calibration_error(pairs, bins=15):
    return sum(n * abs(accuracy - c) for n, c, accuracy in reliability(pairs, bins) if n) / len(pairs)


def output_rows(labels, confidences, true_probabilities, truth, known, winner, active_units, metric, scores):
    """``outputs`` of the report of seven outputs, their mean and their vote.

    Args:
        labels, confidences, true_probabilities: (M + 2, P); the last is what counts where ``known``.
        truth, known, winner: (P,): true class, whether there is one, the output that the vote chose.
        active_units: per output, the mean number of units > 0 of its feature.
        metric, scores: the evaluator's name of its score, and that score of each row or None.
    """
    rows = []
    for m, name in enumerate(NAMES):
        right, was_right = (labels[m] == truth)[known], (labels[0] == truth)[known]
        pairs = list(zip(confidences[m][known].tolist(), right.tolist(), strict=True))
        rows.append({
            "name": name,
            "feature": FEATURES[m] if m < 7 else None,
            "active_units": active_units[m] if m < 7 else None,
            metric: scores[m],
            "won": mean(winner == m) if m < 7 else None,
            "decisions": len(truth),
            "labelled": int(known.sum()),
            "mean_confidence": mean(confidences[m]),
            "true_probability": mean(true_probabilities[m][known]),
            "accuracy": mean(right),
            "ece": calibration_error(pairs),
            "changed": mean(labels[m] != labels[0]),
            "fixed": mean(right & ~was_right),
            "broken": mean(~right & was_right),
            "reliability": reliability(pairs),
        })  # fmt: skip
    return rows


def agreement_rows(labels, truth, known):
    """(number of outputs that agree with the vote, decisions, labelled ones, correct ones) for 0 ... M outputs."""
    agreeing = (labels[:7] == labels[-1]).sum(0)
    right = known & (labels[-1] == truth)
    return [(k, *(int((agreeing == k)[each].sum()) for each in (slice(None), known, right))) for k in range(8)]


def mean(values):
    return float(torch.as_tensor(values).double().mean())


def assert_outputs(found, expected, slack=0):
    """Every field of every row. ``slack``: decisions that may differ because two scores are equal up to rounding."""
    assert len(found) == len(expected)
    for ours, literal in zip(found, expected, strict=True):
        assert ours.keys() == literal.keys()
        for key, value in literal.items():
            where = f"{literal['name']}: {key}"
            if key == "reliability":
                assert_reliability(ours[key], value, slack, where)
            elif isinstance(value, float):
                close = (2 * slack + 0.01) / literal["labelled"] if key in SHARES else 1e-5 * max(value, 1)
                assert ours[key] == pytest.approx(value, abs=close), where
            else:
                assert ours[key] == value, where


def assert_reliability(found, expected, slack, where):
    assert len(found) == len(expected)
    for ours, (count, confidence, accuracy) in zip(found, expected, strict=True):
        assert ours["count"] == pytest.approx(count, abs=slack), where
        for key, value in (("confidence", confidence), ("accuracy", accuracy)):
            if value is None or ours[key] is None:
                assert count <= slack and ours["count"] <= slack and (slack or ours[key] is value), where
            else:
                assert ours["count"] * ours[key] == pytest.approx(count * value, abs=slack + 1e-4 * count), where


def assert_agreement(found, expected, slack=0):
    total = sum(decisions for _, decisions, *_ in expected)
    assert [row["outputs"] for row in found] == [outputs for outputs, *_ in expected]
    for ours, (_, decisions, labelled, correct) in zip(found, expected, strict=True):
        assert ours["share"] * total == pytest.approx(decisions, abs=slack + 1e-6)
        if ours["accuracy"] is None or not labelled:
            assert labelled <= slack and (slack or ours["accuracy"] is None)
        else:
            assert ours["accuracy"] * labelled == pytest.approx(correct, abs=2 * slack + 1e-6)
