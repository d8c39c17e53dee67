"""Evaluate a segmentor under several test reductions in one pass over the data."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from unittest.mock import patch

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop
from mmengine.runner.amp import autocast
from mmseg.models import BaseSegmentor
from mmseg.registry import LOOPS

from ...method.reductions import choose_reductions, reduced
from ..model.decode_head import FFCDecodeHead
from ..model.opinions import last_head
from .ensemble import SegmentorEnsemble


@LOOPS.register_module()
class AllReductionsTestLoop(TestLoop):
    """Identical to :class:`TestLoop`, except that the model is tested under several reductions in one pass.

    Every reduction has evaluators of its own; backbone, neck and the head up to its classifier run once.

    Args:
        runner, dataloader, evaluator, fp16: as in the stock class; ``evaluator`` as config. In every string of it
            ``{reduction}`` becomes the name of the reduction (for folders).
        reductions: see :func:`ffc_dense.method.reductions.choose_reductions`.

    ``run`` returns {'REDUCTION/METRIC': value}.
    """

    def __init__(self, runner, dataloader, evaluator, fp16: bool = False, reductions: tuple[str, ...] = ()):
        super().__init__(runner, dataloader, [], fp16)
        self.names = choose_reductions(runner.model, reductions)
        self.evaluators = {name: runner.build_evaluator(_filled_in(evaluator, name)) for name in self.names}
        for each in self.evaluators.values():
            each.dataset_meta = self.dataloader.dataset.metainfo

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
        with autocast(enabled=self.fp16), features_once(model) as rewind:
            data = model.data_preprocessor(data_batch, False)
            for name in self.names:
                rewind()
                with reduced(model, name):
                    samples = model._run_forward(data, mode="predict")
                # At once: the next reduction writes into the same samples.
                self.evaluators[name].process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=samples)


@contextmanager
def features_once(model: BaseSegmentor) -> Iterator[Callable[[], None]]:
    """Within the context, predictions of ``model`` on the same images share the features of the first prediction.

    Yields a function to call before each of them. What is kept is the input of ``conv_seg``, window by window in slide
    mode. Where a head does more after ``cls_seg``, the backbone's features are kept and the head runs again.
    """
    if isinstance(model, SegmentorEnsemble):
        with ExitStack() as stack:
            rewinds = [stack.enter_context(features_once(member)) for member in model.members]
            yield lambda: [rewind() for rewind in rewinds]
        return
    head = last_head(model)
    windows: list[dict] = []
    position = -1
    cls_seg = head.cls_seg

    def rewind() -> None:
        nonlocal position
        position = -1

    def extract_feat_once(extract_feat, inputs):
        nonlocal position
        position += 1
        if position == len(windows):
            windows.append({"features": extract_feat(inputs)})
        return windows[position]["features"]

    def forward_once(forward, inputs, *args, **kwargs):
        window = windows[position]
        if "classified" in window:
            return cls_seg(window["classified"])
        result = forward(inputs, *args, **kwargs)
        feature, logits = window.pop("last_cls_seg", (None, None))
        if result is logits and isinstance(head, FFCDecodeHead) and head is model.decode_head:
            window["classified"] = feature
            window["features"] = None  # not looked at again
        return result

    def cls_seg_noted(cls_seg, feature):
        logits = cls_seg(feature)
        windows[position]["last_cls_seg"] = (feature, logits)
        return logits

    with (
        patch.object(model, "extract_feat", partial(extract_feat_once, model.extract_feat)),
        patch.object(head, "forward", partial(forward_once, head.forward)),
        patch.object(head, "cls_seg", partial(cls_seg_noted, head.cls_seg)),
    ):
        yield rewind


def _filled_in(evaluator, name: str):
    """A copy of an evaluator's config with ``{reduction}`` in its strings replaced."""
    if isinstance(evaluator, dict):
        return {key: _filled_in(value, name) for key, value in evaluator.items()}
    if isinstance(evaluator, list | tuple):
        return [_filled_in(value, name) for value in evaluator]
    return evaluator.replace("{reduction}", name) if isinstance(evaluator, str) else deepcopy(evaluator)
