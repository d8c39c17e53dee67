"""What the main process does for all processes of a job, so that none waits for one that has failed."""

from collections.abc import Callable
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

from ...errors import TrainingStopped, UserError


def from_main(function: Callable, *args: Any) -> Any:
    """``function(*args)``, which the main process alone calls, in every process. All of them call this together.

    Returns:
        The value, which pickle can carry.

    Raises:
        UserError, OSError: what ``function`` raised, see :func:`raise_from_main`.
    """
    value = error = None
    if is_main_process():
        try:
            value = function(*args)
        except (UserError, OSError) as raised:
            error = raised
    raise_from_main(error)
    answer = [value]
    broadcast_object_list(answer)
    return answer[0]


def raise_from_main(error: Exception | None) -> None:
    """Raise the ``error`` of this process, if it has one, or else that of the main process. All call this together.

    Raises:
        TrainingStopped, UserError: in the other processes, with the message of the main process's error.
    """
    told = [None if error is None else (str(error), isinstance(error, TrainingStopped))]
    broadcast_object_list(told)
    if error is not None:
        raise error
    if told[0] is not None:
        message, stopped = told[0]
        raise (TrainingStopped if stopped else UserError)(f"the main process failed: {message}")
