"""Evaluate an image classifier under several test reductions in one pass over the data."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from unittest.mock import patch

from mmpretrain.models import ImageClassifier
from mmpretrain.registry import LOOPS

from ...openmmlab.evaluation.reductions import ReductionsTestLoop


@LOOPS.register_module()
class AllReductionsTestLoop(ReductionsTestLoop):
    """:class:`.ReductionsTestLoop` of classifiers: backbone and neck run once."""

    def features_once(self, model: ImageClassifier) -> AbstractContextManager[Callable[[], object]]:
        return features_once(model)


@contextmanager
def features_once(model: ImageClassifier) -> Iterator[Callable[[], None]]:
    """Within the context, predictions of ``model`` on the same images share the features of the first prediction."""
    with ExitStack() as stack:
        for member in getattr(model, "members", [model]):
            stack.enter_context(patch.object(member, "extract_feat", _called_once(member.extract_feat)))
        yield lambda: None


def _called_once(method: Callable) -> Callable:
    """``method``, called once; its result ever after, whatever the arguments."""
    kept: list = []

    def once(*args, **kwargs):
        if not kept:
            kept.append(method(*args, **kwargs))
        return kept[0]

    return once
