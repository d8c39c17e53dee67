"""Evaluate a model under several test modes in one pass over the data."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop
from mmengine.runner.amp import autocast
from torch import nn

from ...method.reductions import choose_reductions, reduced


class ReductionsTestLoop(TestLoop):
    """Identical to :class:`TestLoop`, except that the model is tested under several test modes in one pass.

    Every test mode has evaluators of its own; what comes before the classifier runs once. A subclass says how.

    Args:
        runner, dataloader, evaluator, fp16: as in the stock class; ``evaluator`` as config. In every string of it
            ``{reduction}`` becomes the name of the test mode (for folders).
        reductions: test modes, see :func:`ffc_dense.method.reductions.choose_reductions`.

    ``run`` returns {'REDUCTION/METRIC': value}.
    """

    def __init__(self, runner, dataloader, evaluator, fp16: bool = False, reductions: tuple[str, ...] = ()):
        super().__init__(runner, dataloader, [], fp16)
        self.names = choose_reductions(runner.model, reductions)
        self.evaluators = {name: runner.build_evaluator(_filled_in(evaluator, name)) for name in self.names}
        for each in self.evaluators.values():
            each.dataset_meta = self.dataloader.dataset.metainfo

    def features_once(self, model: nn.Module) -> AbstractContextManager[Callable[[], object]]:
        """Within the context, predictions of ``model`` on the same images share their features.

        Yields a function to call before each of them.
        """
        raise NotImplementedError

    def run(self) -> dict:
        """Launch test."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        self.runner.model.eval()
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        size = len(self.dataloader.dataset)
        found = {name: evaluator.evaluate(size) for name, evaluator in self.evaluators.items()}
        metrics = {f"{name}/{key}": value for name, scores in found.items() for key, value in scores.items()}
        # Hooks log what they are given, on one line: without the scores of single classes ("IoU.road").
        summary = {key: value for key, value in metrics.items() if "." not in key}
        self.runner.call_hook("after_test_epoch", metrics=summary)
        self.runner.call_hook("after_test")
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        model = self.runner.model.module if is_model_wrapper(self.runner.model) else self.runner.model
        samples = None
        with autocast(enabled=self.fp16), self.features_once(model) as rewind:
            data = model.data_preprocessor(data_batch, False)
            for name in self.names:
                rewind()
                with reduced(model, name):
                    samples = model._run_forward(data, mode="predict")
                # At once: the next test mode writes into the same samples.
                self.evaluators[name].process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=samples)


def _filled_in(evaluator, name: str):
    """A copy of an evaluator's config with ``{reduction}`` in its strings replaced."""
    if isinstance(evaluator, dict):
        return {key: _filled_in(value, name) for key, value in evaluator.items()}
    if isinstance(evaluator, list | tuple):
        return [_filled_in(value, name) for value in evaluator]
    return evaluator.replace("{reduction}", name) if isinstance(evaluator, str) else deepcopy(evaluator)
