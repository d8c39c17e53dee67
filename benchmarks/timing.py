"""Seconds per call of several candidates, measured in turns: a slow minute of the machine affects all of them."""

import math
import time
from collections.abc import Callable

import torch

MIN_SAMPLE = 0.005  # seconds; a faster call is repeated until a sample lasts this long
MIN_ROUNDS, MAX_ROUNDS = 5, 60


def interleave(
    candidates: dict[str, Callable[[], object]], device: str, seconds: float, rounds: int | None = None
) -> dict[str, list[float]]:
    """Seconds per call of every candidate, one sample per round.

    Each candidate is called twice first (libraries, allocator, compilation). Every other round runs in reverse order,
    so that no candidate always comes after the same one.

    Args:
        candidates: name -> what to call. Its result is dropped outside the measured time.
        device: with 'cuda', every sample begins and ends with a synchronisation.
        seconds: about how long to measure; at least ``MIN_ROUNDS`` and at most ``MAX_ROUNDS`` rounds.
        rounds: exactly this many rounds instead.
    """
    calls = {}
    round_time = 0.0
    for name, call in candidates.items():
        call()
        once = _sample(call, 1, device)
        calls[name] = max(1, math.ceil(MIN_SAMPLE / once))
        round_time += once * calls[name]
    if rounds is None:
        rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(seconds / round_time)))
    samples = {name: [] for name in candidates}
    for i in range(rounds):
        for name in reversed(candidates) if i % 2 else candidates:
            samples[name].append(_sample(candidates[name], calls[name], device))
    return samples


def _sample(call: Callable[[], object], calls: int, device: str) -> float:
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    for _ in range(calls):
        result = call()
    wait()
    elapsed = (time.perf_counter() - begin) / calls
    del result
    return elapsed


def copy_bandwidth(device: str, size: int = 1 << 30) -> float:
    """Bytes per second that a large copy reads and writes on ``device``."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    samples = interleave({"copy": lambda: target.copy_(source)}, device, seconds=1)["copy"]
    return 2 * size / sorted(samples)[len(samples) // 2]
