"""SIGTERM, which a cluster sends before it takes the machine: what both frameworks' trainings share."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

EXIT_CODE = 128 + signal.SIGTERM  # 143, as a shell reports a process that SIGTERM ended


def outlive_others_signals(init_fn: Callable[[int], None] | None, worker_id: int) -> None:
    """Start a data loader's worker that only the training process can end with SIGTERM.

    Clusters signal all processes of a job. A worker that ends at once takes the training with it, before its checkpoint
    is written. For ``DataLoader(worker_init_fn=functools.partial(outlive_others_signals, INIT_FN))``.

    Holds for workers made by ``fork`` and ``spawn``, from the call on: a spawned worker that is still importing ends as
    any process does. Threads that a spawned worker has before the call, which numpy's OpenBLAS starts when it is
    imported, still take the signal and end it: set OPENBLAS_NUM_THREADS or OMP_NUM_THREADS to 1. With ``forkserver`` a
    worker outlives signals to itself, but not the end of the fork server, by which the loader takes all of its workers
    for dead: a SIGTERM to every process ends that training without a checkpoint, so choose another start method where
    the cluster sends it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    training = multiprocessing.parent_process().pid  # os.getppid() is the fork server under forkserver

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    if init_fn is not None:
        init_fn(worker_id)
