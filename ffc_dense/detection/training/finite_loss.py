"""Trainers that look at each loss before the weights are updated."""

import logging
from collections.abc import Mapping
from contextlib import suppress

import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch import distributed as dist

from ...errors import UserError
from ...reliability.non_finite import NonFiniteLoss, NonFiniteRule

__all__ = ["FiniteLoss", "FiniteLossAMPTrainer", "FiniteLossTrainer", "NonFiniteLoss"]

_logger = logging.getLogger(__name__)
# A config's key, and that of a LazyConfig.
ACTION_KEY = "SOLVER.NON_FINITE_LOSS.ACTION (train.non_finite_loss.action)"
LIMIT_KEY = "SOLVER.NON_FINITE_LOSS.MAX_CONSECUTIVE (train.non_finite_loss.max_consecutive)"


class _UpdateSkipped(Exception):
    pass


class FiniteLoss:
    """Put before :class:`SimpleTrainer` or a subclass in the bases: identical to it, except for losses that are NaN or
    infinite.

    detectron2 looks at the sum of the terms on rank 0 alone: the other ranks go on until the launcher ends them, or, on
    other machines, until the timeout. Here all ranks agree, which costs one number per iteration, and act before
    ``optimizer.step``. A finite loss can have gradients that are not; GradScaler handles those of mixed precision.

    Args:
        action, max_consecutive: as in :class:`.NonFiniteRule`. ``skipped_updates`` in the metrics counts the skipped
            ones. With ``"ignore"`` the metrics lack the losses of iterations whose sum is not finite.

    Raises:
        UserError: ``action`` or ``max_consecutive`` is wrong.
        NonFiniteLoss: while training, on all ranks.
    """

    def __init__(self, *args, action: str = "stop", max_consecutive: int = 10, **kwargs):
        self.rule = NonFiniteRule(action, max_consecutive, ACTION_KEY, LIMIT_KEY)
        super().__init__(*args, **kwargs)
        if self.async_write_metrics:
            raise UserError("async_write_metrics: the losses are looked at before the update, not in another thread")

    def run_step(self) -> None:
        skips = self.rule.action == "skip"
        before = [(buffer, buffer.clone()) for buffer in self.model.buffers()] if skips else []
        try:
            super().run_step()
        except _UpdateSkipped:
            for buffer, value in before:
                buffer.copy_(value)

    def _write_metrics(self, loss_dict: Mapping[str, Tensor], data_time: float, prefix: str = "", iter=None) -> None:
        # detectron2 calls this between backward and optimizer.step: gradients are there, weights are still good.
        if self.rule.action != "ignore":
            self._check(loss_dict)
            super()._write_metrics(loss_dict, data_time, prefix, iter)
        elif (self.iter + 1) % self.gather_metric_period == 0:
            with suppress(FloatingPointError):  # of detectron2, on rank 0 alone, when the sum is not finite
                self.write_metrics(loss_dict, data_time, self.iter, prefix)

    def _check(self, loss_dict: Mapping[str, Tensor]) -> None:
        terms = torch.stack([term.detach().float().reshape(()) for term in loss_dict.values()])
        bad = (~terms.isfinite()).any().float()
        if comm.get_world_size() > 1:
            dist.all_reduce(bad, op=dist.ReduceOp.MAX)
        if not bad.item():
            self.rule.finite()
            return
        losses = comm.all_gather(dict(zip(loss_dict, terms.tolist(), strict=True)))
        warning = self.rule.not_finite(self.iter, losses)
        get_event_storage().put_scalar("skipped_updates", self.rule.skipped, smoothing_hint=False)
        _logger.warning(warning)
        raise _UpdateSkipped


class FiniteLossTrainer(FiniteLoss, SimpleTrainer):
    """:class:`SimpleTrainer` with the arguments of :class:`FiniteLoss`."""


class FiniteLossAMPTrainer(FiniteLoss, AMPTrainer):
    """:class:`AMPTrainer` with the arguments of :class:`FiniteLoss`."""
