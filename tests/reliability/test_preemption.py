"""A data loader's worker outlives SIGTERM of others and obeys that of the training, however it was started."""

import functools
import os
import subprocess

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ffc_dense.method.fast import threads
from ffc_dense.reliability.preemption import outlive_others_signals


class WorkerNumbers(Dataset):
    """Items: (process id of the worker, what ``init_fn`` was given)."""

    worker_id = -1

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([os.getpid(), self.worker_id])


def remember(worker_id: int) -> None:
    torch.utils.data.get_worker_info().dataset.worker_id = worker_id


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_a_worker_outlives_sigterm_of_all_but_the_training(start_method, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # as the docstring asks for
    assert_outlives(start_method)


def test_a_forked_worker_outlives_it_after_the_layers_threads_have_worked():
    number = torch.get_num_threads()
    torch.set_num_threads(2)
    assert threads.run(lambda part: part + 1, [1, 2, 3]) == [2, 3, 4]
    torch.set_num_threads(number)
    assert_outlives("fork")


def assert_outlives(start_method):
    init = functools.partial(outlive_others_signals, remember)
    loader = DataLoader(WorkerNumbers(), 1, num_workers=1, multiprocessing_context=start_method, worker_init_fn=init)
    batches = iter(loader)
    worker = batches._workers[0]
    assert next(batches).tolist() == [[worker.pid, 0]]
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    worker.join(0.5)
    for _ in range(10):  # more than were prefetched
        assert next(batches).tolist() == [[worker.pid, 0]]
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
