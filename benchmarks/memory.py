"""Memory in bytes: what is kept for backward, and the peak of one call in its own process."""

import ctypes
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

ROOT = Path(__file__).resolve().parent.parent


def kept_for_backward(call: Callable[[], Tensor]) -> int:
    """Bytes of the storages that autograd keeps after ``call``, each counted once; inputs and parameters included."""
    storages = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = call()  # alive until the count: a storage that was freed could give its address to another
    total = sum(storages.values())
    del result
    return total


def peak(call: Callable[[], object], device: str) -> int:
    """Bytes by which ``call`` raises the memory of this process, or what torch allocated on a CUDA device.

    Raises:
        OSError: on a CPU without Linux's /proc.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        result = call()
        torch.cuda.synchronize()
        highest = torch.cuda.max_memory_allocated()
    else:
        # Not getrusage: its maximum is inherited from the parent process and cannot be reset.
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        result = call()
        highest = _status("VmHWM")
    del result
    return highest - before


def held(call: Callable[[], object]) -> int:
    """Bytes by which the memory of this process has grown once ``call`` returned and while its result lives.

    Unlike :func:`kept_for_backward`, it sees tensors that an autograd function keeps by itself. The result counts
    too. Requires Linux with glibc.
    """
    trim = ctypes.CDLL(None).malloc_trim  # hands freed memory back to the system, so that it is not counted
    gc.collect()
    trim(0)
    before = _status("VmRSS")
    result = call()
    gc.collect()
    trim(0)
    grown = _status("VmRSS") - before
    del result
    return grown


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024


def fresh_process(module: str, arguments: list[str]) -> int:
    """The number in the last line that ``python -m benchmarks.MODULE ARGUMENTS`` prints.

    Raises:
        RuntimeError: the process failed; the message ends with its standard error.
    """
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[3:])} exited with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
