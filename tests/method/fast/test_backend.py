"""The choice of the form that computes: by function and by environment variable, refused with a reason."""

import os
import subprocess
import sys

import pytest
import torch

import ffc_dense
from ffc_dense.method.fast import triton_support

READ = "import ffc_dense, sys; print(ffc_dense.get_backend(), 'triton' in sys.modules)"


def in_a_new_process(**variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("FFC_DENSE_BACKEND", "TRITON_INTERPRET")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), **variables}
    return subprocess.run([sys.executable, "-c", READ], env=environment, capture_output=True, text=True)


def test_unknown_backend_lists_the_valid_ones():
    before = ffc_dense.get_backend()
    with pytest.raises(ValueError, match=r"'auto', 'composite', 'blocked', 'triton'.*'fast'"):
        ffc_dense.set_backend("fast")
    assert ffc_dense.get_backend() == before


def test_default_is_auto_and_does_not_import_triton():
    assert in_a_new_process().stdout.split() == ["auto", "False"]


def test_environment_variable_chooses_the_backend():
    assert in_a_new_process(FFC_DENSE_BACKEND="blocked").stdout.split() == ["blocked", "False"]


def test_wrong_environment_variable_is_named():
    result = in_a_new_process(FFC_DENSE_BACKEND="quick")
    assert result.returncode and "FFC_DENSE_BACKEND=quick" in result.stderr and "'blocked'" in result.stderr


@pytest.mark.parametrize(("missing", "reason"), [("triton", "not installed"), ("cuda", "no CUDA device")])
def test_triton_that_cannot_run_is_refused_with_the_reason(monkeypatch, missing, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    found = None if missing == "triton" else object()
    monkeypatch.setattr(triton_support.importlib.util, "find_spec", lambda name: found)
    with pytest.raises(RuntimeError, match=reason):
        ffc_dense.set_backend("triton")
