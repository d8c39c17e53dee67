"""Which kind of machine works on a tensor: what is fast on a CPU is slow elsewhere, and the other way round."""

import torch
from torch import Tensor

CHUNK_BYTES = 256 * 1024 * 1024  # of temporaries on a GPU: large enough to keep it busy, small beside a model
SHARE_OF_FREE = 4  # a chunk takes at most this part of the memory that is free; with its copies it needs twice that


def is_cpu(x: Tensor) -> bool:
    """Whether small pieces that stay in the cache are best; elsewhere few large operations are, without any wait."""
    return x.is_cpu


def is_recorded() -> bool:
    """Whether operators are recorded now: what is recorded must not depend on this batch."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_onnx() -> bool:
    """Whether what is recorded becomes an ONNX file."""
    return torch.jit.is_tracing() and torch.onnx.is_in_onnx_export()


def chunk_bytes(device: torch.device) -> int:
    """How large a temporary may be on ``device``: CHUNK_BYTES, less where less memory is free."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return CHUNK_BYTES
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + cached
    return max(1, min(CHUNK_BYTES, free // SHARE_OF_FREE))
