"""Faster forms of what the FFC layers compute, behind their unchanged API.

Shape shorthand: as in ``ffc_dense/method/filtering.py``, and
    N images and P positions per image; rows of a matrix are N = 1 and P = rows
    m: positions of one block
"""

from .backend import BACKENDS, get_backend, set_backend

__all__ = ["BACKENDS", "get_backend", "set_backend"]
