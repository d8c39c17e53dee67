"""Trainings of tools/train_net.py that SIGKILL ends at random moments, many of them while a checkpoint is written."""

import json
import os
import subprocess
import sys

import pytest
from repository import ROOT

pytest.importorskip("detectron2")

from ffc_dense.minidata import make_mini_coco

HERE = ROOT / "tests"
INTERVAL = 2  # iterations between the worker's checkpoints


def killed(folder, kills, *options):
    make_mini_coco(folder / "data" / "mini_coco", 6, 2)
    environment = dict(os.environ, DETECTRON2_DATASETS="data", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    command = [sys.executable, HERE / "workers" / "killed_detectron2.py", "out", str(kills), "1", *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(starts):
    """Each start goes on, and with no more than one interval lost. Returns the kills that came in a write."""
    known = saved = 0  # iterations done so far, and those that were in a checkpoint already
    for start in starts:
        if start["start"] is not None:  # None: killed while it started, before it read a checkpoint
            assert max(saved, known - INTERVAL) <= start["start"] <= known, starts
            saved, known = start["start"], start["done"] or start["start"]
    assert starts[-1]["start"] is not None
    return sum(start["in_write"] for start in starts)


@pytest.mark.ci
def test_killed_trainings_go_on_and_lose_no_more_than_one_interval(tmp_path):
    assert check(killed(tmp_path, 4)) >= 2


@pytest.mark.slow
def test_50_killed_trainings_go_on_and_lose_no_more_than_one_interval(tmp_path):
    starts = killed(tmp_path, 50)
    in_write = check(starts)
    early = sum(start["start"] is None for start in starts)
    print(f"50 kills, {in_write} while a checkpoint was written, {early} before a checkpoint was read; all went on")
    assert in_write >= 25 and starts[-1]["start"] > 20


@pytest.mark.slow
def test_detectron2s_own_checkpointer_does_not_go_on(tmp_path):
    starts = killed(tmp_path, 5, "stock")
    assert starts[2]["in_write"] and starts[-1] == {"start": None, "done": None, "in_write": False}
    assert "PytorchStreamReader failed reading zip archive" in (tmp_path / "out" / "log").read_text()
