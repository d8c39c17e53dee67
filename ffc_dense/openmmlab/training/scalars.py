"""Accuracy of every output and active units of every stage in mmengine's visualizer."""

from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ...inspection.training_scalars import training_scalars
from ...method.layers import FFCConv2d, FFCLinear
from ..model.ffc_head import FFCHead


class TrainingScalarsHook(Hook):
    """Gives ``ffc/out1/accuracy`` ... ``ffc/vote/accuracy`` and ``ffc/stage0/active_units`` ... to the visualizer.

    Its backends (LocalVisBackend, TensorboardVisBackend, WandbVisBackend, ...) draw them; the text log stays as it is.
    Between the iterations that are looked at, the model runs as it would without the hook. The first process alone
    computes them, from its own part of the batch; nothing is exchanged. A subclass says which part of the batch is
    looked at, and which method of a head gets its labels.

    Args:
        interval: iterations from one look to the next; 0 for none.

    Raises:
        ValueError: ``interval`` is not an integer in its range.
    """

    priority = "BELOW_NORMAL"
    loss_method: str  # of a head: (logits, data samples, ...) -> losses

    def __init__(self, interval: int = 100):
        self._check("interval", interval, 0)
        self.interval = interval
        self._noting = ExitStack()
        self._found: dict[str, float] = {}

    def _check(self, name: str, value: int, least: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{type(self).__name__}: {name} must be an integer of at least {least}, got {value!r}")

    def main_head(self, model: nn.Module) -> nn.Module:
        """The head whose scalars have no name before theirs."""
        raise NotImplementedError

    def sampled(self, head: FFCHead, x: Tensor, samples: list) -> tuple[Tensor, Tensor]:
        """The classifier's input and a batch's data samples -> features and labels, see :func:`training_scalars`."""
        raise NotImplementedError

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if not self.interval or not self.every_n_train_iters(runner, self.interval) or not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        heads = [(name, head) for name, head in model.named_modules() if isinstance(head, FFCHead)]
        heads = [(name, head) for name, head in heads if isinstance(head.ffc_layer, FFCConv2d | FFCLinear)]
        for name, head in heads:
            features: list[Tensor] = []
            prefix = "ffc/" if head is self.main_head(model) or len(heads) == 1 else f"{name}/ffc/"
            handle = head.ffc_layer.register_forward_pre_hook(partial(_note, features))
            looking = partial(self._look, head, features, prefix, getattr(head, self.loss_method))
            self._noting.callback(handle.remove)
            self._noting.enter_context(patch.object(head, self.loss_method, looking))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._noting.close()
        if self._found:
            runner.visualizer.add_scalars(self._found, step=runner.iter + 1)
            self._found = {}

    def after_train(self, runner: Runner) -> None:
        self._noting.close()

    def _look(self, head, features, prefix, loss_method, logits, samples, *args, **kwargs):
        """In the place of the head's ``loss_method``, which is where its labels are."""
        if features:
            x, labels = self.sampled(head, features.pop(), samples)
            scalars = training_scalars(head.ffc_layer, x, labels)
            self._found |= {prefix + name: value for name, value in scalars.items()}
        return loss_method(logits, samples, *args, **kwargs)


def _note(features: list[Tensor], layer, args: tuple) -> None:
    features[:] = [args[0].detach()]
