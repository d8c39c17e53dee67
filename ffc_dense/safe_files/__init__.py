"""Read files from others without running code in them.

:func:`read_pickle` and :func:`read_torch` build tensors, numpy arrays and plain values, and refuse every other object
by its name. :func:`read_safetensors` reads a format that holds only tensors and text. :func:`check_digest` compares a
file with its sha256 before it is read. :func:`read_yaml` refuses ``!!python`` tags. Requires torch and numpy, no
framework.
"""

from .digest import check_digest, sha256_of, split_sha256, without_query
from .errors import UnsafeFileError
from .pickles import read_pickle
from .safetensors_files import classes_in, read_safetensors, write_safetensors
from .torch_files import check_torch, read_torch
from .weights import Weights, read_weights
from .weights_only import add_weights_only_argument, require_safetensors
from .yaml_files import read_yaml

__all__ = [
    "UnsafeFileError",
    "Weights",
    "add_weights_only_argument",
    "check_digest",
    "check_torch",
    "classes_in",
    "read_pickle",
    "read_safetensors",
    "read_torch",
    "read_weights",
    "read_yaml",
    "require_safetensors",
    "sha256_of",
    "split_sha256",
    "without_query",
    "write_safetensors",
]
