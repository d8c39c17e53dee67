"""Which form computes the mean of the outputs, and mmseg heads' vote on CUDA: a setting of the process."""

import os

from .triton_support import triton_problem

BACKENDS = ("auto", "composite", "blocked", "triton")
ENVIRONMENT_VARIABLE = "FFC_DENSE_BACKEND"

_backend = "auto"


def get_backend() -> str:
    """The name last given to :func:`set_backend`, else the environment variable FFC_DENSE_BACKEND, else 'auto'."""
    return _backend


def set_backend(name: str) -> None:
    """Choose how FFC layers compute the training result and the test-time ``'mean'``, in this process.

    The result is the same up to rounding; time and memory differ.

    Args:
        name: one of
            'auto' (default): 'blocked' on CPU and CUDA, 'composite' on every other device and for small inputs.
            'composite': PyTorch operations that autograd differentiates; keeps every stage for backward.
            'blocked': a block of positions at a time, recomputed in backward, on any device; keeps the input alone. On
            a GPU blocks are large and few.
            'triton': CUDA kernels, recomputed in backward, for inputs on CUDA; 'auto' for all others. Tested for
            correctness in Triton's interpreter; time on a GPU is not measured, so 'auto' does not use it. mmseg heads
            also upsample and vote by one kernel.

    Whatever the name, the composite form runs where operators are recorded or transformed (``torch.compile``,
    ``torch.export``, ONNX, ``torch.jit.trace``, ``torch.func``, forward-mode differentiation, tensor subclasses, the
    meta device), and for empty inputs.

    Raises:
        ValueError: there is no such backend.
        RuntimeError: 'triton' is asked for and cannot run here; the message says why.
    """
    global _backend
    if name not in BACKENDS:
        raise ValueError(f"the FFC backend must be one of {', '.join(map(repr, BACKENDS))}, got {name!r}")
    if name == "triton" and triton_problem():
        raise RuntimeError(f"the FFC backend 'triton' cannot run here: {triton_problem()}")
    _backend = name


def _read_environment() -> None:
    name = os.environ.get(ENVIRONMENT_VARIABLE)
    if name is not None:
        try:
            set_backend(name)
        except (ValueError, RuntimeError) as error:
            raise type(error)(f"environment variable {ENVIRONMENT_VARIABLE}={name}: {error}") from None


_read_environment()
