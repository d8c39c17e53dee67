"""A function over many files in several processes, with the time that is left."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TextIO

CHUNK = 16  # files per message between processes
FEW = 64  # so many files are done before processes have started


def default_workers() -> int:
    """The CPU cores that this process may use, at most 16."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 16)


class Progress:
    """Counts on ``stream``: one line that is overwritten on a terminal, else a line every 30 seconds."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()

    def start(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.began = self.told = time.monotonic()

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.told < (0.5 if self.terminal else 30):
            return
        self.told = now
        left = (now - self.began) / self.done * (self.total - self.done)
        minutes = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        text = f"{self.label}: {self.done:,} of {self.total:,}, {minutes} left"
        self.stream.write(f"\r{text}\x1b[K" if self.terminal else f"{text}\n")
        self.stream.flush()

    def clear(self) -> None:
        """Make room for a line of output."""
        if self.terminal:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


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
    function: Callable[[Any], Any], tasks: Sequence, workers: int, label: str, progress: Progress | None = None
) -> Iterator:
    """Yield ``function(task)`` for each task, in order. The function is at the top of a module; so are its results.

    Raises ``concurrent.futures.process.BrokenProcessPool`` when a worker is killed, as for want of memory.
    """
    if progress is not None:
        progress.start(label, len(tasks))
    if workers == 1 or len(tasks) <= FEW:
        results = map(function, tasks)
        yield from _counted(results, progress)
    else:
        with _pool(workers) as pool:
            yield from _counted(pool.map(function, tasks, chunksize=CHUNK), progress)


def _counted(results: Iterator, progress: Progress | None) -> Iterator:
    for result in results:
        if progress is not None:
            progress.step()
        yield result
    if progress is not None:
        progress.clear()
