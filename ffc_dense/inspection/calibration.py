"""Are the confidences true? Expected calibration error over a stream (Guo et al. 2017, section 2)."""

import torch
from torch import Tensor

BINS = 15  # as in Guo et al.


class Calibration:
    """Confidences against correctness in ``bins`` bins of equal width; bin b holds (b / bins, (b + 1) / bins].

    A confidence of 0 falls into the first bin. Its size does not grow with what is added.
    """

    def __init__(self, bins: int = BINS):
        self.bins = bins
        self.counts = torch.zeros(bins, dtype=torch.int64)
        self.correct = torch.zeros(bins, dtype=torch.int64)
        self.confidence = torch.zeros(bins, dtype=torch.float64)  # sums

    def update(self, confidence: Tensor, correct: Tensor) -> None:
        """Add decisions: confidences (P,) in [0, 1], and whether each was correct, bool (P,)."""
        confidence = confidence.double()
        edges = torch.arange(1, self.bins, dtype=torch.float64, device=confidence.device) / self.bins
        place = torch.bucketize(confidence, edges)
        self.counts += torch.bincount(place, minlength=self.bins).cpu()
        self.correct += torch.bincount(place[correct], minlength=self.bins).cpu()
        self.confidence += torch.bincount(place, confidence, self.bins).cpu()

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float | None:
        """Share of correct decisions; None before any."""
        return int(self.correct.sum()) / self.total if self.total else None

    @property
    def error(self) -> float | None:
        """Expected calibration error: the mean over decisions of |accuracy - mean confidence| of their bin."""
        if not self.total:
            return None
        return float((self.correct - self.confidence).abs().sum()) / self.total

    def table(self) -> list[dict]:
        """Per bin: ``count``, and mean ``confidence`` and ``accuracy``, None where the bin is empty."""
        rows = zip(self.counts.tolist(), self.confidence.tolist(), self.correct.tolist(), strict=True)
        return [
            {
                "count": count,
                "confidence": confidence / count if count else None,
                "accuracy": correct / count if count else None,
            }
            for count, confidence, correct in rows
        ]
