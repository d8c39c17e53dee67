"""Compare what an exported file answers with what the model answers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-4  # of scores, and of boxes in units of the image's longer side
RARE = 1e-3  # share of pixels or detections that may differ by more, see Agreement


@dataclass
class Agreement:
    """How far two answers agree.

    A vote and a threshold are not continuous: where two outputs are equally confident, or a score or an overlap meets
    a threshold, up to the rounding of fp32, another kernel may decide otherwise. Such decisions are counted as
    ``unlike`` and do not enter ``difference``.

    Attributes:
        decisions: pixels, or detections of either side.
        unlike: decisions that differ by more than TOLERANCE or in their label, or that one side lacks.
        same_label: decisions with the same label.
        difference: the largest difference of the others.
    """

    decisions: int = 0
    unlike: int = 0
    same_label: int = 0
    difference: float = 0.0

    def __add__(self, other: "Agreement") -> "Agreement":
        counts = (getattr(self, name) + getattr(other, name) for name in ("decisions", "unlike", "same_label"))
        return Agreement(*counts, max(self.difference, other.difference))

    @property
    def passes(self) -> bool:
        return self.unlike <= RARE * self.decisions

    def __str__(self) -> str:
        shares = [f"{number / max(1, self.decisions):.4%}" for number in (self.same_label, self.unlike)]
        return (
            f"{self.decisions} decisions: max difference {self.difference:.2g}, same label {shares[0]}, decided "
            f"otherwise {self.unlike} ({shares[1]})"
        )


def compare_dense(expected: list[Tensor], found: list[Tensor]) -> Agreement:
    """Scores (N, K, H, W) and labels (N, 1, H, W) of both."""
    _check_shapes(expected, found, range(4))
    difference = (expected[0].double() - found[0].double()).abs().nan_to_num(nan=torch.inf).amax(1)
    same = (expected[1] == found[1]).squeeze(1)
    like = (difference <= TOLERANCE) & same
    largest = difference[like].max().item() if like.any() else 0.0
    return Agreement(like.numel(), int((~like).sum()), int(same.sum()), largest)


def compare_detections(expected: list[Tensor], found: list[Tensor], size: tuple[int, int]) -> Agreement:
    """Boxes (D, 4), labels (D,) and scores (D,) of both, in any order, for an image of (H, W).

    Each detection that is found is matched to the most similar expected one of its label that is still free. The
    difference is that of score or box, boxes in units of the longer side.
    """
    _check_shapes(expected, found, range(1, 2))
    boxes, labels, scores = expected
    rows = [torch.cat([b / max(size), s[:, None]], 1).double() for b, s in ((boxes, scores), (found[0], found[2]))]
    distances = torch.cdist(rows[1], rows[0], p=torch.inf)
    distances[found[1][:, None] != labels[None]] = torch.inf
    matched, largest = 0, 0.0
    for distance in distances:  # in the order of the scores
        if len(distance) and (best := distance.argmin()) is not None and distance[best] <= TOLERANCE:
            matched, largest = matched + 1, max(largest, float(distance[best]))
            distances[:, best] = torch.inf
    number = max(len(labels), len(found[1]))
    return Agreement(number, number - matched, matched, largest)


def verify(
    model: Callable[[Tensor], list[Tensor]],
    exported: Callable[[Tensor], list[Tensor]],
    inputs: Iterable[Tensor],
    compare: Callable[[list[Tensor], list[Tensor], Tensor], Agreement],
) -> Agreement:
    """The agreement of ``exported`` with ``model`` over all inputs.

    Raises:
        ValueError: they answer in different shapes.
    """
    total = Agreement()
    with torch.no_grad():
        for image in inputs:
            total += compare(list(model(image)), exported(image), image)
    return total


def _check_shapes(expected: list[Tensor], found: list[Tensor], dims: range) -> None:
    shapes = [[[tensor.shape[d] for d in dims if d < tensor.dim()] for tensor in side] for side in (expected, found)]
    if shapes[0] != shapes[1] or [t.dtype for t in expected] != [t.dtype for t in found]:
        raise ValueError(
            f"the model answers {[(tuple(t.shape), t.dtype) for t in expected]}, the file "
            f"{[(tuple(t.shape), t.dtype) for t in found]}"
        )
