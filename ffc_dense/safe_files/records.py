"""Placeholders for the objects of a pickle while it is read: records that hold arguments and run nothing.

A pickle is a program that calls the objects it names. Here every admitted name is a class of records, so a call only
stores its arguments. Afterwards :func:`resolve` makes numpy arrays and scalars of the records, from checked values. The
pickle never calls numpy's own functions: a forged ``dtype`` state could make them read bytes as pointers.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any

import numpy as np

Resolver = Callable[[tuple, Any], Any]  # (arguments, state) of the object -> what to make of it

_CODE = re.compile(r"[biufc]\d{1,2}|[SU]\d{1,9}")  # numbers, truth values and text; no objects, no fields


class Refused(UnpicklingError):
    """The message names the refused content of the pickle."""


class _Sealed(type):
    """A pickle can set attributes of the objects it names, but not of a class of records."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise Refused(f"a change of {name}")

    __delattr__ = None


class Record(metaclass=_Sealed):
    __slots__ = ("args", "state")
    name = "an unknown object"

    def __new__(cls, *args):
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @staticmethod
    def resolve(args: tuple, state: Any) -> Any:
        raise Refused("an object that stands for no value")


class _Bytes(metaclass=_Sealed):
    """``_codecs.encode(text, 'latin1')``: bytes in older pickle protocols."""

    def __new__(cls, text: str, encoding: str = "latin1") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise Refused(f"bytes in the encoding {encoding!r}")
        return text.encode("latin1")


class _NoBytes(metaclass=_Sealed):
    """``bytes()``: empty bytes in older pickle protocols."""

    def __new__(cls) -> bytes:
        return b""


def _dtype(record: Any) -> np.dtype:
    if not (isinstance(record, Record) and record.name == "numpy.dtype" and record.args):
        raise Refused("an array without a dtype")
    code, state = record.args[0], record.state
    if not (isinstance(code, str) and _CODE.fullmatch(code)):
        raise Refused(f"a numpy array of dtype {code!r}: expected numbers, truth values or text")
    order = "|"
    if state is not None:
        if not (isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "=", "|")):
            raise Refused("a numpy dtype with a malformed state")
        if any(part is not None for part in state[2:5]):
            raise Refused("a numpy dtype with fields")
        order = state[1]
    return np.dtype((order if order != "|" else "") + code)


def _filled(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if isinstance(raw, str):
        raw = raw.encode("latin1")  # a pickle of Python 2
    if isinstance(raw, list):
        raise Refused("a numpy array of Python objects")
    if not isinstance(raw, bytes | bytearray):
        raise Refused("a numpy array without data")
    if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
        raise Refused("a numpy array with a malformed shape")
    dtype = _dtype(dtype)
    if len(raw) != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise Refused(f"a numpy array of shape {shape} and {dtype} in {len(raw)} bytes")
    if not raw:
        return np.empty(shape, dtype)
    native = dtype.newbyteorder("=")  # as numpy itself does when it unpickles
    return np.frombuffer(raw, dtype).reshape(shape, order=order).astype(native, order=order)


def _array(args: tuple, state: Any) -> np.ndarray:
    if not (isinstance(state, tuple) and len(state) == 5):
        raise Refused("a numpy array with a malformed state")
    _, shape, dtype, fortran, raw = state
    return _filled(raw, dtype, shape, "F" if fortran else "C")


def _from_buffer(args: tuple, state: Any) -> np.ndarray:
    raw, dtype, shape, order = args
    return _filled(raw, dtype, shape, "F" if order == "F" else "C")


def _scalar(args: tuple, state: Any) -> np.generic:
    dtype, raw = args
    return _filled(raw, dtype, (1,), "C")[0]


_NUMPY: dict[str, Resolver | None] = {"numpy.ndarray": None, "numpy.dtype": None}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    _NUMPY |= {
        f"{_core}.multiarray._reconstruct": _array,
        f"{_core}.multiarray.scalar": _scalar,
        f"{_core}.numeric._frombuffer": _from_buffer,
    }


def admitted(extra: Mapping[str, Resolver] | None = None) -> dict[str, type]:
    """{"module.name": class} of everything a pickle may name: numpy's arrays and scalars, plain types, and ``extra``.

    Args:
        extra: further names, each with a function (arguments, state) -> value, called once the file is read.
    """
    classes: dict[str, type] = {
        "_codecs.encode": _Bytes,
        "__builtin__.bytes": _NoBytes,
        "builtins.bytes": _NoBytes,
        "collections.OrderedDict": OrderedDict,
    }
    for name, resolver in {**_NUMPY, **(extra or {})}.items():
        body = {"__slots__": (), "name": name}
        if resolver:
            body["resolve"] = staticmethod(resolver)
        classes[name] = _Sealed(name.rpartition(".")[2], (Record,), body)
    return classes


def resolve(content: Any) -> Any:
    """``content`` with its records replaced: dicts and lists in place, tuples anew.

    Raises:
        Refused: a record has no admitted value; the message names it.
    """
    return _resolve(content, {})


def _resolve(node: Any, seen: dict[int, Any]) -> Any:
    if id(node) in seen:
        return seen[id(node)][1]
    if isinstance(node, Record):
        found = _resolve_record(node, seen)
    elif isinstance(node, dict):
        found = node
        seen[id(node)] = node, found
        for key in node:
            _refuse_records(key, "as a key")
            node[key] = _resolve(node[key], seen)
    elif isinstance(node, list):
        found = node
        seen[id(node)] = node, found
        node[:] = [_resolve(item, seen) for item in node]
    elif type(node) is tuple:
        found = tuple(_resolve(item, seen) for item in node)
    elif isinstance(node, set | frozenset):
        found = node
        for item in node:
            _refuse_records(item, "in a set")
    else:
        return node
    seen[id(node)] = node, found  # keeps the node alive, so that its id is not reused
    return found


def _refuse_records(node: Any, where: str) -> None:
    """Refuse records in hashed places, where they cannot be replaced."""
    if isinstance(node, Record):
        raise Refused(f"{node.name} {where}")
    if isinstance(node, tuple | frozenset):
        for part in node:
            _refuse_records(part, where)


def _resolve_record(record: Record, seen: dict[int, Any]) -> Any:
    # numpy's resolvers read the record of the dtype themselves.
    is_numpy = record.name in _NUMPY
    args = record.args if is_numpy else _resolve(record.args, seen)
    state = record.state if is_numpy else _resolve(record.state, seen)
    try:
        return record.resolve(args, state)
    except (TypeError, ValueError) as error:
        raise Refused(f"{record.name}, malformed ({error})") from error
