"""The quick cells of ``matrix/run.py``: what a tool says whose framework is absent."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "matrix" / "run.py"


def matrix(*words):
    only = [argument for word in words for argument in ("--only", word)]
    return subprocess.run([sys.executable, str(RUN), *only], capture_output=True, text=True, timeout=300)


def test_training_tools_name_the_absent_framework():
    done = matrix("core only", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("core only")]
    assert [(row[2], row[3], row[4]) for row in rows] == [
        ("detectron2", "train", "refused"),
        ("mmseg", "train", "refused"),
    ]


@pytest.fixture(scope="module")
def run():
    """matrix/run.py as a module."""
    spec = importlib.util.spec_from_file_location("matrix_run", RUN)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


NAMED = "mmseg_tool.py: error: mmseg is not installed: pip install 'ffc_dense[segmentation]'"
OTHERWISE_WRONG = (
    "",
    "mmseg_tool.py: error: psp.py: there is no such config; correct the path",
    "ModuleNotFoundError: No module named 'mmseg'",
    f"Traceback (most recent call last):\n{NAMED}",
)


def ended(code, stderr):
    return subprocess.CompletedProcess([], code, stdout="", stderr=stderr)


@pytest.mark.parametrize("framework", ["detectron2", "mmseg"])
def test_a_refusal_counts_only_in_one_line_that_says_what_to_install(run, framework):
    job = run.Job(framework, "train", [])
    assert run.verdict(job, True, ended(2, NAMED)) == "refused"
    for code in (0, 1):
        assert run.verdict(job, True, ended(code, NAMED)) == "FAILED"
    for stderr in OTHERWISE_WRONG:
        assert run.verdict(job, True, ended(2, stderr)) == "FAILED", stderr
    assert run.verdict(job, False, ended(2, NAMED)) == "FAILED"  # it is there
    assert run.verdict(job, False, ended(0, "")) == "ok" and run.verdict(job, True, None) == "FAILED"


def test_a_word_that_no_row_contains_is_an_error():
    done = matrix("core only", "trian")
    assert done.returncode == 2
    assert "no row contains core only and trian" in done.stderr
