"""A method that was replaced for a while comes back, whatever stood there and however the context ends."""

import subprocess
import sys

import pytest
from torch import nn

from ffc_dense.method.replacing import replaced_method


def test_a_replaced_method_comes_back_with_what_stood_there():
    module, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with replaced_method(module, "extra_repr", lambda stock: f"[{stock()}]"):
        assert module.extra_repr().startswith("[in_features=2")
        with replaced_method(module, "extra_repr", lambda stock: f"<{stock()}>"):
            assert module.extra_repr().startswith("<[")
        assert module.extra_repr().startswith("[")
        assert other.extra_repr().startswith("in_features=2")
    assert "extra_repr" not in vars(module)
    assert module.extra_repr() == other.extra_repr()


def test_what_somebody_else_put_on_the_object_comes_back_as_the_same_object_after_an_error():
    module = nn.Linear(2, 2)
    module.extra_repr = own = lambda: "own"

    def failing():
        with replaced_method(module, "extra_repr", lambda stock: stock() * 2):
            assert module.extra_repr() == "ownown"
            raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        failing()
    assert module.extra_repr is own


def test_arguments_and_result_pass_through():
    class Sum:
        def of(self, *values, start=0):
            return sum(values, start)

    number = Sum()
    with replaced_method(number, "of", lambda stock, *values, start=0: -stock(*values, start=start)):
        assert number.of(1, 2, start=3) == -6
    assert number.of(1, 2, start=3) == 6


def test_a_method_that_is_not_there_is_an_error_and_adds_nothing():
    module = nn.Linear(2, 2)
    with pytest.raises(AttributeError, match="nowhere"), replaced_method(module, "nowhere", print):
        pass
    assert "nowhere" not in vars(module)


def test_the_module_needs_no_framework():
    code = "import sys, ffc_dense.method.replacing; print(*{'detectron2', 'mmseg', 'mmengine'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
