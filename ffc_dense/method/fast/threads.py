"""Work on a CPU in a few Python threads with one torch thread each.

torch splits every operation over its threads and waits for the last: hundreds of short operations stall as soon as one
core is busy with something else. Here each thread works on pieces of its own and nobody waits before the end.
"""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

PIECES_PER_THREAD = 4  # a thread whose core is busy leaves its pieces to the others

Part = TypeVar("Part")
Found = TypeVar("Found")
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0


def run(function: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
    """``[function(part) for part in parts]`` without gradients, on as many threads as torch has here.

    The result does not depend on which thread took which part. Under dispatch modes, which belong to a thread, the
    calling thread does it all.
    """
    count = min(torch.get_num_threads(), len(parts))
    if count <= 1 or torch._C._len_torch_dispatch_stack() > 0:
        return [function(part) for part in parts]
    inference = torch.is_inference_mode_enabled()

    def call(part: Part) -> Found:
        with torch.inference_mode() if inference else torch.no_grad():
            return function(part)

    return list(_threads(torch.get_num_threads()).map(call, parts))


def pieces(items: Sequence[Any]) -> list[Sequence[Any]]:
    """``items`` in order, cut into PIECES_PER_THREAD parts for each of torch's threads, or fewer."""
    count = min(len(items), PIECES_PER_THREAD * torch.get_num_threads())
    return [items[i * len(items) // count : (i + 1) * len(items) // count] for i in range(count)]


def _threads(count: int) -> ThreadPoolExecutor:
    global _pool, _size
    with _lock:
        if _pool is None or _size != count:
            started = threading.Barrier(count + 1)

            def start() -> None:
                torch.get_num_threads()  # torch starts a thread with the process's number at its first question
                torch.set_num_threads(1)
                started.wait()

            pool = ThreadPoolExecutor(count, "ffc_dense", start)
            for _ in range(count):
                pool.submit(int)
            started.wait()
            torch.set_num_threads(count)  # what a thread sets is the start value of later ones: take it back
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _size = pool, count
        return _pool


def _forget() -> None:
    """In a forked process the threads do not exist.

    torch starts a native thread there as soon as somebody sets the number of threads, as data loader workers do. It
    must take no signal: SIGTERM would end a worker that has blocked it (``reliability.preemption``). So it is started
    here, with every signal blocked.
    """
    global _pool, _lock
    started, _pool, _lock = _pool is not None, None, threading.Lock()
    if started:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        torch.set_num_threads(torch.get_num_threads())
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
