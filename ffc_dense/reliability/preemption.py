"""SIGTERM, which a cluster sends before it takes the machine, and Ctrl-C, for the trainings of every framework."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from ..errors.reporting import process_rank

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_CODES = tuple(128 + number for number in SIGNALS)  # 143 and 130, as a shell reports them
RELAYED = 0.3  # seconds: a terminal signals every process of a job, and the launcher signals its ranks again


class CtrlC:
    """Called at every SIGINT. It ends the process at once when Ctrl-C was pressed for the second time."""

    def __init__(self) -> None:
        self.first = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if self.first and now - self.first > RELAYED:
            end_at_once()
        self.first = self.first or now


class StopSignals:
    """SIGTERM and Ctrl-C (SIGINT) during a training: the first signal stops it after a checkpoint.

    Another Ctrl-C ends the process at once, with exit code 130 and without a checkpoint. A process that ignores SIGINT,
    such as a shell's background job, still ignores it.

    Attributes:
        told: the number of the received signal, else 0.
    """

    def __init__(self) -> None:
        self.told, self._ctrl_c = 0, CtrlC()
        self._before: dict[int, object] = {}

    def catch(self, say: Callable[[str], None]) -> bool:
        """Catch the signals. Outside of the main thread this is impossible: ``say`` gets a message; returns False."""
        if threading.current_thread() is not threading.main_thread():
            say("Not in the main thread: SIGTERM and Ctrl-C end the training without a checkpoint")
            return False
        self.told, self._ctrl_c = 0, CtrlC()
        for number in SIGNALS:
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        return True

    def release(self) -> None:
        """Restore the previous signal handlers."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _on_signal(self, number: int, frame) -> None:
        if number == signal.SIGINT:
            self._ctrl_c()
            parent = multiprocessing.parent_process()
            if parent is not None and os.getppid() != parent.pid:  # the launcher and the other ranks are gone
                end_at_once()
            if not self.told and process_rank() == 0:
                os.write(2, b"Ctrl-C: stopping after this iteration, with a checkpoint; once more ends at once\n")
        self.told = self.told or number


def stopped_by(number: int) -> str:
    """The name of a signal, for messages."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def end_at_once() -> None:
    """End this process and its child processes, without messages."""
    with suppress(Exception):
        for child in multiprocessing.active_children():
            child.kill()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(128 + signal.SIGINT)


def shelter_workers(loader: "DataLoader") -> None:
    """Let the workers that a loader starts from now on survive SIGTERM and Ctrl-C, for every start method of Python.

    Clusters signal all processes of a job. If a worker ended at once, the training would fail before its checkpoint is
    written. Workers start with both signals blocked. The fork server inherits this, and so do the threads that numpy's
    OpenBLAS starts in a spawned worker before our code. :func:`outlive_others_signals` then lets only the training end
    them.
    """
    if loader.num_workers:
        loader.worker_init_fn = partial(outlive_others_signals, loader.worker_init_fn)
        loader._get_iterator = partial(_with_signals_blocked, loader._get_iterator)


def _with_signals_blocked(start: Callable[[], Iterator]) -> Iterator:
    resource_tracker.ensure_running()  # first: it unblocks the signals that it blocks
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_others_signals(init_fn: Callable[[int], None] | None, worker_id: int) -> None:
    """In a data loader worker: from now on only the training process can end it by SIGTERM, and Ctrl-C cannot."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    training = multiprocessing.parent_process().pid  # os.getppid() is the fork server under forkserver

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    if init_fn is not None:
        init_fn(worker_id)
