"""Evaluate a segmentor under several test modes in one pass over the data."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from unittest.mock import patch

from mmseg.models import BaseSegmentor
from mmseg.registry import LOOPS

from ...openmmlab.evaluation.reductions import ReductionsTestLoop
from ..model.decode_head import FFCDecodeHead
from ..model.opinions import last_head
from .ensemble import SegmentorEnsemble


@LOOPS.register_module()
class AllReductionsTestLoop(ReductionsTestLoop):
    """:class:`.ReductionsTestLoop` of segmentors: backbone, neck and the head up to its classifier run once."""

    def features_once(self, model: BaseSegmentor) -> AbstractContextManager[Callable[[], object]]:
        return features_once(model)


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
