"""Which decisions an output makes: against Out1, against the ground truth, and in the vote.

Shape shorthand: P decisions (boxes or pixels), M outputs. Labels are integers; a ground truth of NONE is unknown.
"""

import torch
from torch import Tensor

from ..method.voting import count_ballots
from .calibration import BINS, Calibration

NONE = -1


class Decisions:
    """The decisions of one output, or of the mean or the vote, over a stream."""

    def __init__(self, bins: int = BINS):
        self.calibration = Calibration(bins)
        self.total = self.changed = self.fixed = self.broken = 0
        self.confidence = self.true_probability = 0.0  # sums, over all decisions and over those with a ground truth

    def update(self, label: Tensor, confidence: Tensor, true_probability: Tensor, truth: Tensor, first: Tensor) -> None:
        """Add decisions.

        Args:
            label: (P,) what was decided.
            confidence: (P,) the probability of ``label``.
            true_probability: (P,) the probability of ``truth``; not looked at where that is NONE.
            truth: (P,) the ground truth, or NONE.
            first: (P,) what Out1 decided.
        """
        known = truth != NONE
        right, was_right = (label == truth)[known], (first == truth)[known]
        self.total += label.numel()
        self.confidence += float(confidence.double().sum())
        self.true_probability += float(true_probability[known].double().sum())
        self.changed += int((label != first).sum())
        self.fixed += int((right & ~was_right).sum())
        self.broken += int((~right & was_right).sum())
        self.calibration.update(confidence[known], right)

    def summary(self) -> dict:
        """Means and shares in [0, 1]; None where there is nothing to average."""
        labelled = self.calibration.total
        return {
            "decisions": self.total,
            "labelled": labelled,
            "mean_confidence": _share(self.confidence, self.total),
            "true_probability": _share(self.true_probability, labelled),
            "accuracy": self.calibration.accuracy,
            "ece": self.calibration.error,
            "changed": _share(self.changed, self.total),
            "fixed": _share(self.fixed, labelled),
            "broken": _share(self.broken, labelled),
            "reliability": self.calibration.table(),
        }


class Election:
    """How the outputs' votes come out, over a stream: who wins, and how many agree with the predicted class."""

    def __init__(self, num_outputs: int):
        self.total = 0
        self.won = torch.zeros(num_outputs, dtype=torch.int64)
        self.agreeing = torch.zeros(num_outputs + 1, dtype=torch.int64)  # index: number of outputs
        self.labelled = torch.zeros(num_outputs + 1, dtype=torch.int64)
        self.correct = torch.zeros(num_outputs + 1, dtype=torch.int64)

    def update(self, labels: Tensor, winner: Tensor, predicted: Tensor, truth: Tensor) -> None:
        """Add decisions.

        Args:
            labels: (M, P) what each output decided.
            winner: (P,) the output that won, 0 for Out1.
            predicted: (P,) the class that the vote decided.
            truth: (P,) the ground truth, or NONE.
        """
        known = truth != NONE
        agreeing = (labels == predicted).sum(0)
        size = len(self.agreeing)
        self.total += predicted.numel()
        self.won += torch.bincount(winner, minlength=len(self.won)).cpu()
        self.agreeing += torch.bincount(agreeing, minlength=size).cpu()
        self.labelled += torch.bincount(agreeing[known], minlength=size).cpu()
        self.correct += torch.bincount(agreeing[known & (predicted == truth)], minlength=size).cpu()

    def won_shares(self) -> list[float | None]:
        """Per output, the share of decisions that it won."""
        return [_share(count, self.total) for count in self.won.tolist()]

    def agreement(self) -> list[dict]:
        """For 0 ... M agreeing outputs: ``outputs``, ``share`` of decisions and ``accuracy`` of the vote in them."""
        rows = zip(self.agreeing.tolist(), self.labelled.tolist(), self.correct.tolist(), strict=True)
        return [
            {"outputs": outputs, "share": _share(count, self.total), "accuracy": _share(correct, labelled)}
            for outputs, (count, labelled, correct) in enumerate(rows)
        ]


def winning_output(labels: Tensor, confidences: Tensor) -> Tensor:
    """The winner by the rules of :func:`ffc_dense.vote`, from labels and confidences (M, P) alone: int64 (P,)."""
    return count_ballots(labels, confidences)[0]


def _share(count: float, total: int) -> float | None:
    return count / total if total else None
