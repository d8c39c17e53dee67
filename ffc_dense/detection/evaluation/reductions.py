"""Evaluate a detector under several test modes in one pass over the data."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from torch import nn

from ...method.reductions import reduced

# What a model computes before its ROI heads: the first call of each gives the same under every test mode.
SHARED = ("backbone", "proposal_generator", "sem_seg_head")


class AllReductions(nn.Module):
    """A detector in eval mode that answers with its outputs under each of several test modes.

    Backbone, proposals and box features do not depend on the test mode and are computed once per batch. Any meta
    architecture will do; one without ROI heads has the test mode 'stock' alone.

    Args:
        model: the detector.
        names: test modes, see :func:`ffc_dense.method.reductions.choose_reductions`.
    """

    def __init__(self, model: nn.Module, names: list[str]):
        super().__init__()
        self.model = model
        self.names = names

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> dict[str, list[dict]]:
        """detectron2's inputs -> for each test mode what the detector alone would return, ``[{"instances": ...}]``."""
        answers = {}
        with computed_once(self.model) as rewind:
            for name in self.names:
                rewind()
                with reduced(self.model, name):
                    answers[name] = self.model(batched_inputs)
        return answers


class AugmentedReductions(AllReductions):
    """Identical to :class:`AllReductions`, except for ``TEST.AUG``: one augmented pass for each test mode.

    Args:
        augmented: ``GeneralizedRCNNWithTTA(cfg, model)``.
    """

    def __init__(self, model: nn.Module, names: list[str], augmented: nn.Module):
        super().__init__(model, names)
        # Not a submodule: it holds the model, whose parameters would be there twice.
        self.augmented = [augmented.eval()]

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> dict[str, list[dict]]:
        answers = {}
        for name in self.names:
            with reduced(self.model, name):
                answers[name] = self.augmented[0](batched_inputs)
        return answers


class PerReduction(DatasetEvaluator):
    """One evaluator per test mode, for the outputs of :class:`AllReductions`.

    ``evaluate`` returns {test mode: results of its evaluator}; an evaluator has none on other ranks than the first.
    """

    def __init__(self, evaluators: dict[str, DatasetEvaluator]):
        self.evaluators = evaluators

    def reset(self) -> None:
        for evaluator in self.evaluators.values():
            evaluator.reset()

    def process(self, inputs: list[dict], outputs: dict[str, list[dict]]) -> None:
        for name, evaluator in self.evaluators.items():
            evaluator.process(inputs, outputs[name])

    def evaluate(self) -> dict[str, Any]:
        return {name: evaluator.evaluate() for name, evaluator in self.evaluators.items()}


@contextmanager
def computed_once(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Within the context, calls of ``model`` on the same images share what does not depend on the test mode.

    Yields a function to call before each of them.
    """
    modules = [module for name in SHARED if isinstance(module := getattr(model, name, None), nn.Module)]
    heads = getattr(model, "roi_heads", None)
    with ExitStack() as stack:
        rewinds = [stack.enter_context(_tape(module, 1)) for module in modules]
        if isinstance(heads, nn.Module):
            rewinds.append(stack.enter_context(box_features_once(heads)))
        yield lambda: [rewind() for rewind in rewinds]


@contextmanager
def box_features_once(roi_heads: nn.Module) -> Iterator[Callable[[], None]]:
    """Within the context, calls of ``roi_heads`` on the same images share the box features of the first call.

    Yields a function to call before each of them. The features are the results of ROI pooler and box head (C4: res5):
    their inputs are the proposals and, in a cascade, boxes that regression on the raw feature made, the same under
    every test mode. ROI heads of other classes compute theirs each time.
    """
    if isinstance(roi_heads, CascadeROIHeads):
        calls = {roi_heads.box_pooler: roi_heads.num_cascade_stages, **dict.fromkeys(roi_heads.box_head, 1)}
    elif isinstance(roi_heads, StandardROIHeads):
        calls = {roi_heads.box_pooler: 1, roi_heads.box_head: 1}
    elif isinstance(roi_heads, Res5ROIHeads):
        # Masks go through the same modules again, with the predicted boxes: the first call alone is shared.
        calls = {roi_heads.pooler: 1, roi_heads.res5: 1}
    else:
        calls = {}
    with ExitStack() as stack:
        rewinds = [stack.enter_context(_tape(module, count)) for module, count in calls.items()]
        yield lambda: [rewind() for rewind in rewinds]


@contextmanager
def _tape(module: nn.Module, count: int) -> Iterator[Callable[[], None]]:
    """Within the context, the first ``count`` calls of a module after each rewind return what they first returned.

    Yields the function that rewinds.
    """
    returned: list[Any] = []
    position = 0

    def rewind() -> None:
        nonlocal position
        position = 0

    def play(forward: Callable, *args, **kwargs) -> Any:
        nonlocal position
        position += 1
        if position > count:
            return forward(*args, **kwargs)
        if position > len(returned):
            returned.append(forward(*args, **kwargs))
        return returned[position - 1]

    with patch.object(module, "forward", partial(play, module.forward)):
        yield rewind
