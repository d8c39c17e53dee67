"""A function over many files in several processes, with the time that is left."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

CHUNK = 16  # files per message between processes
FEW = 64  # so many files are done before processes have started


def default_workers() -> int:
    """The CPU cores that this process may use, at most 16."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 16)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Linux: forked workers need not import torch again, which ffc_dense does.
    method = "fork" if sys.platform == "linux" else None
    # Ctrl-C reaches every process of the terminal; the parent alone answers it.
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(workers, context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def over_files(
    function: Callable[[Any], Any], tasks: Sequence, workers: int, label: str, progress: bool = False
) -> Iterator:
    """Yield ``function(task)`` for each task, in order. The function is at the top of a module; so are its results.

    Args:
        progress: show on stderr how far it is; where that is no terminal, only what takes longer than half a minute.

    Raises ``concurrent.futures.process.BrokenProcessPool`` when a worker is killed, for example by a lack of memory.
    """
    seconds = 0.5 if sys.stderr.isatty() else 30
    bar = tqdm(total=len(tasks), desc=label, unit=" files", disable=not progress, mininterval=seconds, delay=seconds,
               leave=False)  # fmt: skip
    with bar:
        if workers == 1 or len(tasks) <= FEW:
            yield from _counted(map(function, tasks), bar)
        else:
            with _pool(workers) as pool:
                yield from _counted(pool.map(function, tasks, chunksize=CHUNK), bar)


def _counted(results: Iterator, bar: tqdm) -> Iterator:
    for result in results:
        bar.update()
        yield result
