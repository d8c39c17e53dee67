"""A data loader's worker outlives SIGTERM and Ctrl-C of others and obeys the training, however it was started; a
training hears both signals, and ends at once at the second Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ffc_dense.method.fast import threads
from ffc_dense.reliability.preemption import RELAYED, StopSignals, shelter_workers, stopped_by


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
def test_a_worker_outlives_sigterm_of_all_but_the_training(start_method):
    assert_outlives(start_method)


def test_a_forked_worker_outlives_it_after_the_layers_threads_have_worked():
    number = torch.get_num_threads()
    torch.set_num_threads(2)
    assert threads.run(lambda part: part + 1, [1, 2, 3]) == [2, 3, 4]
    torch.set_num_threads(number)
    assert_outlives("fork")


def assert_outlives(start_method):
    loader = DataLoader(
        WorkerNumbers(), 1, num_workers=1, multiprocessing_context=start_method, worker_init_fn=remember
    )
    shelter_workers(loader)
    batches = iter(loader)
    worker = batches._workers[0]
    if start_method == "spawn":
        for name in ("-TERM", "-INT"):  # while it imports
            subprocess.run(["kill", name, str(worker.pid)], check=True)
    assert next(batches).tolist() == [[worker.pid, 0]]
    for name in ("-TERM", "-INT"):
        subprocess.run(["kill", name, str(worker.pid)], check=True)
    worker.join(0.5)
    for _ in range(10):  # more than were prefetched
        assert next(batches).tolist() == [[worker.pid, 0]]
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


TRAINING = """
import sys, time
import numpy
import torch
from torch.utils.data import DataLoader
from ffc_dense.reliability.preemption import StopSignals, shelter_workers

if __name__ == "__main__":
    data = torch.utils.data.TensorDataset(torch.arange(10**6))
    loader = DataLoader(data, 1, num_workers=2, multiprocessing_context=sys.argv[1], pin_memory=False)
    signals = StopSignals()
    signals.catch(print)
    shelter_workers(loader)
    for number, _ in enumerate(loader):
        time.sleep(0.01)
        if number == 10:
            print("trains", flush=True)
        if signals.told and number > 30:
            print("checkpoint", flush=True)
            sys.exit(128 + signals.told)
"""


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_sigterm_to_every_process_of_a_job_leaves_time_for_a_checkpoint(start_method, tmp_path):
    """As Slurm sends it: workers and fork server too, with the threads that OpenBLAS starts by itself."""
    (tmp_path / "job.py").write_text(TRAINING)
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    job = subprocess.Popen([sys.executable, tmp_path / "job.py", start_method], stdout=subprocess.PIPE, text=True,
                           stderr=subprocess.PIPE, env=environment, start_new_session=True)  # fmt: skip
    assert job.stdout.readline() == "trains\n"
    os.killpg(job.pid, signal.SIGTERM)
    out, err = job.communicate(timeout=20)
    assert job.returncode == 143 and out == "checkpoint\n", err[-2000:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_told_and_given_back(number, capfd):
    before, signals = signal.getsignal(number), StopSignals()
    assert signals.catch(print) and signals.told == 0
    os.kill(os.getpid(), number)
    assert signals.told == number
    os.kill(os.getpid(), number)  # as a launcher passes it on
    signals.release()
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count("once more ends at once") == (number == signal.SIGINT)
    assert stopped_by(number) == ("Ctrl-C" if number == signal.SIGINT else "SIGTERM")


def test_a_background_job_goes_on_ignoring_ctrl_c():
    before, signals = signal.signal(signal.SIGINT, signal.SIG_IGN), StopSignals()
    try:
        signals.catch(print)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signals.release()
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_is_told_that_it_catches_nothing():
    said, before = [], signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: said.append(StopSignals().catch(said.append)))
    thread.start()
    thread.join()
    assert "main thread" in said[0] and said[1] is False and signal.getsignal(signal.SIGINT) is before


WAITS = """
import sys, time
from ffc_dense.reliability.preemption import StopSignals
signals = StopSignals()
signals.catch(print)
print("ready", flush=True)
while True:
    try:
        time.sleep(0.01)
        if signals.told:
            print(signals.told, flush=True)
    finally:
        pass
"""


@pytest.mark.parametrize("first", ["-INT", "-TERM"])
def test_the_second_ctrl_c_ends_at_once(first):
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    subprocess.run(["kill", first, str(process.pid)], check=True)
    assert process.stdout.readline().strip() == str(int(signal.SIGINT if first == "-INT" else signal.SIGTERM))
    if first == "-TERM":  # after its answer: Python takes pending signals by their numbers
        subprocess.run(["kill", "-INT", str(process.pid)], check=True)
    time.sleep(3 * RELAYED)
    assert process.poll() is None
    subprocess.run(["kill", "-INT", str(process.pid)], check=True)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in said
