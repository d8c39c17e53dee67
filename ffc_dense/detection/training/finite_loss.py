"""Trainers that look at each loss before the weights are updated."""

import logging
import math
from collections.abc import Mapping

import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch import distributed as dist

from ...errors import TrainingStopped, UserError

_logger = logging.getLogger(__name__)
ACTIONS = ("stop", "skip")
# A config's key, and that of a LazyConfig.
ACTION_KEY = "SOLVER.NON_FINITE_LOSS.ACTION (train.non_finite_loss.action)"
LIMIT_KEY = "SOLVER.NON_FINITE_LOSS.MAX_CONSECUTIVE (train.non_finite_loss.max_consecutive)"


class NonFiniteLoss(TrainingStopped):
    """A loss is NaN or infinite. The message names the iteration and, for each rank, the terms."""


class _UpdateSkipped(Exception):
    pass


class FiniteLoss:
    """Put before :class:`SimpleTrainer` or a subclass in the bases: identical to it, except for losses that are NaN or
    infinite.

    detectron2 looks at the sum of the terms on rank 0 alone: the other ranks go on until the launcher ends them, or, on
    other machines, until the timeout. Here all ranks agree, which costs one number per iteration, and act before
    ``optimizer.step``. A finite loss can have gradients that are not; GradScaler handles those of mixed precision.

    Args:
        action: ``"stop"`` raises. ``"skip"`` leaves out the update, puts back the buffers (BatchNorm's statistics),
            logs a warning, and counts: ``skipped_updates`` in the metrics.
        max_consecutive: so many iterations in a row are skipped; one more stops the training.

    Raises:
        UserError: ``action`` or ``max_consecutive`` is wrong.
        NonFiniteLoss: while training, on all ranks.
    """

    def __init__(self, *args, action: str = "stop", max_consecutive: int = 10, **kwargs):
        if action not in ACTIONS:
            raise UserError(f"{ACTION_KEY}: expected one of {', '.join(ACTIONS)}, got {action!r}")
        if isinstance(max_consecutive, bool) or not isinstance(max_consecutive, int) or max_consecutive < 1:
            raise UserError(f"{LIMIT_KEY}: expected a whole number from 1 on, got {max_consecutive!r}")
        super().__init__(*args, **kwargs)
        if self.async_write_metrics:
            raise UserError("async_write_metrics: the losses are looked at before the update, not in another thread")
        self.action, self.max_consecutive = action, max_consecutive
        self.skipped_in_a_row = self.skipped = 0

    def run_step(self) -> None:
        before = [(buffer, buffer.clone()) for buffer in self.model.buffers()] if self.action == "skip" else []
        try:
            super().run_step()
            self.skipped_in_a_row = 0
        except _UpdateSkipped:
            for buffer, value in before:
                buffer.copy_(value)

    def _write_metrics(self, loss_dict: Mapping[str, Tensor], *args, **kwargs) -> None:
        # detectron2 calls this between backward and optimizer.step: gradients are there, weights are still good.
        self._check(loss_dict)
        super()._write_metrics(loss_dict, *args, **kwargs)

    def _check(self, loss_dict: Mapping[str, Tensor]) -> None:
        terms = torch.stack([term.detach().float().reshape(()) for term in loss_dict.values()])
        bad = (~terms.isfinite()).any().float()
        if comm.get_world_size() > 1:
            dist.all_reduce(bad, op=dist.ReduceOp.MAX)
        if not bad.item():
            return
        own = {name: value for name, value in zip(loss_dict, terms.tolist(), strict=True) if not math.isfinite(value)}
        where = "; ".join(
            ", ".join(f"{name} is {value}" for name, value in found.items()) + f" on rank {rank}"
            for rank, found in enumerate(comm.all_gather(own))
            if found
        )
        message = f"iteration {self.iter}: {where}. The weights were not updated"
        if self.action == "stop":
            raise NonFiniteLoss(
                f"{message}; resume from the last checkpoint with a smaller learning rate or clipped gradients, or "
                f"set {ACTION_KEY} to skip"
            )
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > self.max_consecutive:
            raise NonFiniteLoss(
                f"{message}, number {self.skipped_in_a_row} in a row, more than {LIMIT_KEY}, {self.max_consecutive}; "
                "resume from the last checkpoint with a smaller learning rate or clipped gradients"
            )
        self.skipped += 1
        get_event_storage().put_scalar("skipped_updates", self.skipped, smoothing_hint=False)
        _logger.warning("%s: skipped, %d in a row, %d in all", message, self.skipped_in_a_row, self.skipped)
        raise _UpdateSkipped


class FiniteLossTrainer(FiniteLoss, SimpleTrainer):
    """:class:`SimpleTrainer` with the arguments of :class:`FiniteLoss`."""


class FiniteLossAMPTrainer(FiniteLoss, AMPTrainer):
    """:class:`AMPTrainer` with the arguments of :class:`FiniteLoss`."""
