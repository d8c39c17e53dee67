"""detectron2's trainer with what a training needs that must not be lost."""

import logging
import weakref
from collections import OrderedDict
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.engine.hooks import PeriodicCheckpointer

from ...errors import UserError
from ...reliability.random_state import kept_random_state
from ..inputs.architectures import num_classes
from ..inputs.datasets import dataset_class_names
from .atomic_checkpoint import AtomicCheckpointer, KeepNewest
from .data_stream import ContinueDataStream
from .finite_loss import FiniteLossAMPTrainer, FiniteLossTrainer
from .preemption import StopOnSigterm


class ReliableTrainer(DefaultTrainer):
    """Identical to :class:`DefaultTrainer`, except that

    * checkpoints are written by :class:`AtomicCheckpointer`, and with ``SOLVER.CHECKPOINT_MAX_TO_KEEP`` only the newest
      ones are kept;
    * SIGTERM ends it with a checkpoint (:class:`StopOnSigterm`);
    * ``SOLVER.NON_FINITE_LOSS`` says what a loss of NaN or infinity does (:class:`FiniteLoss`);
    * a resumed training goes on with its data and random numbers (:class:`ContinueDataStream`), and evaluations leave
      the random numbers of the training alone.

    A training that is not interrupted and does not evaluate has the same weights as detectron2's. The keys are those of
    ``ffc_dense.detection.add_ffc_config``.
    """

    def build_hooks(self) -> list:
        cfg = self.cfg
        stock = self._trainer
        self._trainer = (FiniteLossAMPTrainer if cfg.SOLVER.AMP.ENABLED else FiniteLossTrainer)(
            stock.model,
            stock.data_loader,
            stock.optimizer,
            action=cfg.SOLVER.NON_FINITE_LOSS.ACTION,
            max_consecutive=cfg.SOLVER.NON_FINITE_LOSS.MAX_CONSECUTIVE,
        )
        # DefaultTrainer has built its own, which its hooks would take.
        self.checkpointer = AtomicCheckpointer(stock.model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.checkpointer.class_names = training_class_names(cfg.DATASETS.TRAIN, num_classes(cfg)[0])
        keep = KeepNewest(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=max_to_keep(cfg))
        found = [keep if isinstance(hook, PeriodicCheckpointer) else hook for hook in super().build_hooks()]
        return [*found, ContinueDataStream(), StopOnSigterm(self.checkpointer)]

    def train(self) -> OrderedDict | None:
        with errors_without_traceback():
            return super().train()

    @classmethod
    def test(cls, cfg: CfgNode, model, evaluators=None) -> OrderedDict:
        with kept_random_state():
            return super().test(cfg, model, evaluators)


def training_class_names(datasets: Sequence[str], number: int | None) -> list[str] | None:
    """The names that checkpoints keep: those of the first dataset, if the model has as many classes."""
    names = dataset_class_names(datasets[0]) if datasets else None
    return names if names is not None and len(names) == number else None


def max_to_keep(cfg: CfgNode) -> int | None:
    wanted = cfg.SOLVER.CHECKPOINT_MAX_TO_KEEP
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        raise UserError(f"SOLVER.CHECKPOINT_MAX_TO_KEEP: expected a whole number, 0 for all, got {wanted!r}")
    return wanted or None


class errors_without_traceback(logging.Filter):
    """Within the context detectron2's loop logs the message of a :class:`UserError`, not its traceback as well."""

    _logger = logging.getLogger("detectron2.engine.train_loop")

    def __enter__(self) -> None:
        self._logger.addFilter(self)

    def __exit__(self, *error) -> None:
        self._logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, UserError):
            record.msg, record.args, record.exc_info = f"The training stops: {error}", (), None
        return True
