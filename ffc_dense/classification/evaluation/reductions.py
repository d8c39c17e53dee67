"""Evaluate an image classifier under several test modes in one pass over the data."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
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
def features_once(model: ImageClassifier) -> Iterator[Callable[[], object]]:
    """Within the context, predictions of ``model`` on the same batch share the features of the first prediction.

    Yields a function to call before each of them. A video's features are extracted in several calls.
    """
    with ExitStack() as stack:
        tapes = [_Tape(member.extract_feat) for member in getattr(model, "members", [model])]
        for tape in tapes:
            stack.enter_context(patch.object(tape.method.__self__, "extract_feat", tape))
        yield lambda: [tape.rewind() for tape in tapes]


class _Tape:
    """Calls ``method`` and keeps what it returns; after ``rewind`` it returns that again, call by call."""

    def __init__(self, method: Any):
        self.method, self.kept, self.position = method, [], 0

    def rewind(self) -> None:
        self.position = 0

    def __call__(self, *args, **kwargs) -> Any:
        if self.position == len(self.kept):
            self.kept.append(self.method(*args, **kwargs))
        self.position += 1
        return self.kept[self.position - 1]
