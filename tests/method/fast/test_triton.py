"""The Triton kernels, interpreted on the CPU, against the literal algorithm in float64. No GPU is involved."""

import json
import os
import subprocess
import sys

import pytest
from repository import ROOT

SCRIPT = ROOT / "tests" / "workers" / "interpreted_kernels.py"


@pytest.fixture(scope="module")
def report():
    """Case -> tensor -> largest relative error."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("FFC_DENSE_BACKEND", None)
    result = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def worst(report, names):
    """(error, case, tensor) of the largest error; a string in the place of a number is a fault of its own."""
    assert names
    found = [(error, case, tensor) for case in names for tensor, error in report[case].items()]
    assert not [each for each in found if isinstance(each[0], str)]
    return max(found)


@pytest.mark.parametrize(("dtype", "rounding"), [("fp32", 1e-5), ("bf16", 0.02), ("fp16", 0.002)])
@pytest.mark.parametrize("kind", ["rows", "map"])
def test_kernels_are_literal_in_every_dtype(report, kind, dtype, rounding):
    assert worst(report, [f"{kind}-{dtype}"])[0] < rounding


def test_kernels_are_literal_for_any_number_of_features(report):
    names = [name for name in report if name.endswith("-features")]
    assert len(names) == 12 and worst(report, names)[0] < 1e-5


def test_kernels_are_literal_for_any_number_of_filters(report):
    names = [name for name in report if "-filters-" in name]
    assert len(names) == 6 and worst(report, names)[0] < 1e-5


@pytest.mark.parametrize(
    "case",
    [
        "no-bias-rows", "no-bias-map", "one-row", "three-dimensions", "one-map", "many-tiles-map", "many-tiles-rows",
        "eps", "channels-last", "strided-rows", "strided-map",
    ],
)  # fmt: skip
def test_kernels_are_literal_for_any_shape_and_stride(report, case):
    assert worst(report, [case])[0] < 1e-5


@pytest.mark.parametrize("case", ["zero", "constant", "huge"])
def test_kernels_are_literal_for_degenerate_features(report, case):
    assert worst(report, [case])[0] < 1e-4


@pytest.mark.parametrize("case", ["empty-rows", "empty-maps"])
def test_empty_input_gives_every_parameter_a_zero_gradient(report, case):
    assert len(report[case]) == 8 and worst(report, [case])[0] == 0
