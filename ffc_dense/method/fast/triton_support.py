"""Whether Triton's kernels can run here, found out without importing Triton."""

import importlib.util
import os

import torch

MAX_FEATURES = 4096  # C that a program can hold in its registers


def is_interpreted() -> bool:
    """Whether Triton interprets its kernels on the CPU (TRITON_INTERPRET=1), slowly, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def triton_problem() -> str:
    """Why Triton's kernels cannot run here; '' if they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install triton)"
    if not torch.cuda.is_available() and not is_interpreted():
        return "there is no CUDA device"
    return ""
