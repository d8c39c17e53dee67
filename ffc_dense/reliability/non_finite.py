"""The reaction to a loss of NaN or infinity, before the weights are updated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import TrainingStopped, UserError

ACTIONS = ("stop", "skip", "ignore")


class NonFiniteLoss(TrainingStopped):
    """A loss is NaN or infinite. The message names the iteration and, for each rank, the terms."""


@dataclass
class NonFiniteRule:
    """One per training and process. All processes give it the same losses, so they take the same decision.

    Args:
        action: ``"stop"`` raises. ``"skip"`` leaves out the update and counts it; the caller drops the gradients and
            restores the buffers (BatchNorm's statistics). ``"ignore"`` checks nothing: the weights are updated, and
            lost.
        max_consecutive: the number of iterations in a row that may be skipped; one more stops the training.
        action_key, limit_key: the config keys of both, for the messages.

    Raises:
        UserError: ``action`` or ``max_consecutive`` is wrong; the message names the key.
    """

    action: str = "stop"
    max_consecutive: int = 10
    action_key: str = "action"
    limit_key: str = "max_consecutive"
    skipped_in_a_row: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise UserError(f"{self.action_key}: expected one of {', '.join(ACTIONS)}, got {self.action!r}")
        limit = self.max_consecutive
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise UserError(f"{self.limit_key}: expected a whole number from 1 on, got {limit!r}")

    def finite(self) -> None:
        """An iteration whose losses are finite."""
        self.skipped_in_a_row = 0

    def not_finite(
        self, iteration: int, losses: Sequence[Mapping[str, float]], about: Sequence[str] = (), *, state: str = "",
        checkpoint: str | None = "the last checkpoint",
    ) -> str:  # fmt: skip
        """An iteration with a loss that is not finite: raise, or return the warning that its update is skipped.

        Args:
            losses: the terms of each rank; those that are not finite are named.
            about: a note on each rank, such as ``"images: a.png"``.
            state: a sentence about the weights, for the error.
            checkpoint: the one to resume from; None if nothing was saved.

        Raises:
            NonFiniteLoss: the action is "stop", or too many in a row were skipped.
        """
        message = f"iteration {iteration}: {_who(losses, about)}. The weights were not updated"
        remedy = f"Go on from {checkpoint}" if checkpoint else "There is no checkpoint: start again"
        remedy = f"{state}{' ' if state else ''}{remedy} with a smaller learning rate or clipped gradients"
        if self.action == "stop":
            raise NonFiniteLoss(f"{message}. {remedy}, or set {self.action_key} to skip")
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > self.max_consecutive:
            raise NonFiniteLoss(
                f"{message}, number {self.skipped_in_a_row} in a row, and {self.limit_key} is {self.max_consecutive}. "
                f"{remedy}"
            )
        self.skipped += 1
        return f"{message}: skipped, {self.skipped_in_a_row} in a row, {self.skipped} in all"


def _who(losses: Sequence[Mapping[str, float]], about: Sequence[str]) -> str:
    found = []
    for rank, terms in enumerate(losses):
        bad = [f"{name} is {value}" for name, value in terms.items() if not math.isfinite(value)]
        if bad:
            found.append(f"{', '.join(bad)} on rank {rank}" + (f" ({about[rank]})" if about else ""))
    return "; ".join(found)
