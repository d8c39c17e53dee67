"""The exit code of a detectron2 rank is that of its job, whatever its teardown does."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("detectron2")

RANKS = """
import atexit, os
from ffc_dense.detection.training.preemption import launch

class Late:
    def __del__(self, abort=os.abort):  # when the teardown clears the modules
        abort()

def main():
    global late
    late = Late()
    atexit.register(print, "farewell")
    print("said")
    raise SystemExit({code})

if __name__ == "__main__":
    launch(main, 2, dist_url="auto")
"""


@pytest.mark.parametrize("code", [2, 143])
@pytest.mark.ci
def test_the_exit_code_of_a_rank_outlives_an_abort_of_its_teardown(tmp_path, code):
    (tmp_path / "ranks.py").write_text(RANKS.format(code=code))
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    command = [sys.executable, tmp_path / "ranks.py"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code and "error" not in ended.stderr
    assert "said" in ended.stdout and "farewell" in ended.stdout
