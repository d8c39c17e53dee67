"""The state of the global random number generators, in types that ``torch.load(weights_only=True)`` reads."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def random_state() -> dict:
    """The states of the generators of Python, NumPy, PyTorch on the CPU and PyTorch on the current CUDA device."""
    name, numbers, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(numbers.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict) -> None:
    """Restore the result of :func:`random_state`. Without CUDA its CUDA state is ignored."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, numbers, *rest = state["numpy"]
    np.random.set_state((name, numbers.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Random numbers drawn within the context do not change those drawn after it."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)
