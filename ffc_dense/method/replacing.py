"""Replace a method of one object for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


@contextmanager
def replaced_method(owner: Any, name: str, function: Callable) -> Iterator[None]:
    """Within the context ``owner.name(*args)`` calls ``function(method, *args)``; ``method`` is what it called before.

    The class and its other objects stay as they are. At the end the object has what it had: the method of its class, or
    one that somebody else put on the object itself. Contexts of the same method end in the reverse order.

    Raises:
        AttributeError: ``owner`` has no ``name``.
    """
    method = getattr(owner, name)
    own = {name: vars(owner)[name]} if name in vars(owner) else {}
    setattr(owner, name, partial(function, method))
    try:
        yield
    finally:
        delattr(owner, name)
        for each in own:
            setattr(owner, each, own[each])
