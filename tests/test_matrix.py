"""The quick cells of ``matrix/run.py``: what a tool says whose framework is absent."""

import subprocess
import sys
from pathlib import Path

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


def test_a_word_that_no_row_contains_is_an_error():
    done = matrix("core only", "trian")
    assert done.returncode == 2
    assert "no row contains core only and trian" in done.stderr
