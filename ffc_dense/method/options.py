"""Every option of FFC, once: name, default, valid values, meaning.

The layers, detectron2's config keys, mmseg's head arguments, the config checks, the reading of runs and the docs'
table take them from here. A new option is one entry of ``OPTIONS`` and the code of the layer that uses it.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .checks import check_bool, check_integer

MAX_FILTERS = 100  # the paper has 3; more than this is a slip, and would take the memory of 2n + 1 outputs
MIN_EPS = 1e-5  # below it, a constant feature under fp16 divides by a variance that rounds to zero


@dataclass(frozen=True)
class Option:
    """An option of the FFC layers.

    Args:
        name: of the keyword argument; in upper case that of detectron2's key.
        default: the paper's choice.
        valid: the valid values, in words.
        meaning: one sentence.
        check: called with name and value, raises a ValueError; None where the values of other options decide.
        per_test: chosen when a model is tested, so that runs which differ in it alone are the same training.
    """

    name: str
    default: Any
    valid: str
    meaning: str
    check: Callable[[str, Any], None] | None
    per_test: bool = False


def check_filters(name: str, value: Any) -> None:
    check_integer(name, value, 0, MAX_FILTERS)


def check_eps(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not MIN_EPS <= value < math.inf:
        raise ValueError(f"{name} must be a number of at least {MIN_EPS}, got {value!r}: smaller ones give NaN in fp16")


OPTIONS = {
    option.name: option
    for option in (
        Option(
            "num_filters", 3, f"an integer from 0 to {MAX_FILTERS}",
            "n, length of the chain of LayerNorm + ReLU; 0 is the stock classifier", check_filters,
        ),
        Option(
            "interpolate", True, "True or False",
            "classify the average of each two neighbouring stages too: 2n + 1 outputs, as in the paper; False: n + 1, "
            "as in the authors' code", check_bool,
        ),
        Option(
            "test_reduce", "vote", "'vote', 'mean' or one of 'out1' ... 'outM'",
            "how the outputs become one in testing: 'vote' (the paper), 'mean' of the logits (the authors' code), or a "
            "single output (rows of the paper's Table 1)", None, per_test=True,
        ),
        Option("eps", 1e-5, f"a number of at least {MIN_EPS}", "epsilon of every LayerNorm", check_eps),
        Option(
            "normalize_input", False, "True or False",
            "a LayerNorm before the chain; with 0 filters one LayerNorm before the stock classifier, the control of "
            "docs/background/evidence.md", check_bool,
        ),
    )
}  # fmt: skip


def num_outputs(num_stages: int, interpolate: bool) -> int:
    """M: 2S - 1 outputs of S = n + 1 stages with interpolation, S without."""
    return 2 * num_stages - 1 if interpolate else num_stages


def valid_reductions(outputs: int) -> tuple[str, ...]:
    """What ``test_reduce`` may be with M ``outputs``: 'vote', 'mean', 'out1' ... 'outM'."""
    return "vote", "mean", *(f"out{i + 1}" for i in range(outputs))


def check_reduction(name: str, value: Any, outputs: int) -> None:
    """Raise a ValueError unless ``value`` is one of the ``valid_reductions`` of M ``outputs``."""
    valid = valid_reductions(outputs)
    if value not in valid:
        near = get_close_matches(str(value), valid, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, valid))}, got {value!r}{hint}")


def check(values: Mapping[str, Any], key: Callable[[str], str] = str) -> None:
    """Check the ``values`` of all options together.

    Args:
        key: option name -> what the message calls it, such as a config key.

    Raises:
        ValueError: the message names the option, the value and what is valid.
    """
    for option in OPTIONS.values():
        if option.check is not None:
            option.check(key(option.name), values[option.name])
    outputs = num_outputs(values["num_filters"] + 1, values["interpolate"])
    check_reduction(key("test_reduce"), values["test_reduce"], outputs)


def resolve(given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """The value of every option: what is ``given``, else the default.

    Args:
        owner: whose options they are, for the message.

    Raises:
        TypeError: an unknown option.
        ValueError: an option is out of its range, see :func:`check`.
    """
    unknown = [name for name in given if name not in OPTIONS]
    if unknown:
        near = get_close_matches(unknown[0], OPTIONS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        names = ", ".join(map(repr, unknown))
        raise TypeError(f"{owner}: unknown option {names}{hint}; there are {', '.join(OPTIONS)}")
    values = {name: given.get(name, option.default) for name, option in OPTIONS.items()}
    check(values)
    return values


def split(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments -> (those that are FFC's options, the others)."""
    ours = {name: value for name, value in arguments.items() if name in OPTIONS}
    return ours, {name: value for name, value in arguments.items() if name not in OPTIONS}


def changed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that make another training: options of the layer that are not the default."""
    return {
        name: values[name]
        for name, option in OPTIONS.items()
        if name in values and not option.per_test and values[name] != option.default
    }


def takes_options(function: Callable) -> Callable:
    """Decorator: ``help()`` and ``inspect.signature`` show the options in the place of ``**options``."""
    signature = inspect.signature(function)
    kept = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    rest = [each for each in signature.parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
    if rest and rest[0].name == "options":  # nothing but options is taken
        rest = []
    added = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
        for option in OPTIONS.values()
    ]
    function.__signature__ = signature.replace(parameters=[*kept, *added, *rest])  # type: ignore[attr-defined]
    return function


def documented() -> list[tuple[str, str, str, str]]:
    """Rows (name, default, valid values, meaning) for the docs."""
    return [(option.name, repr(option.default), option.valid, option.meaning) for option in OPTIONS.values()]
