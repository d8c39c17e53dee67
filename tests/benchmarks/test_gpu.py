"""The measuring kit for a GPU, run on the CPU with tiny sizes: it ends, compares, chooses, and needs torch alone."""

import json
import os
import subprocess
import sys

import pytest
import torch
from repository import ROOT

from benchmarks import gpu

WITHOUT_FRAMEWORKS = """
import sys
sys.modules |= dict.fromkeys(("mmseg", "mmengine", "mmcv", "detectron2"))
from benchmarks import gpu
gpu.main(sys.argv[1:])
"""


def test_a_quick_run_needs_torch_alone_and_measures_every_form(tmp_path):
    environment = {
        **os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)
    }  # fmt: skip
    command = [sys.executable, "-c", WITHOUT_FRAMEWORKS, "--quick", "--output", str(tmp_path / "lines.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = json.loads((tmp_path / "lines.json").read_text())
    measured = [line for line in lines if "seconds" in line]
    assert {line["form"] for line in measured} >= {
        "composite",
        "blocked",
        "plain layer",
        "naive implementation",
        "chunk 256 MiB",
    }
    assert all(line["right"] and line["seconds"] > 0 and line["launches"] > 0 for line in measured)
    assert {line["form"]: line["not_measured"] for line in lines if "not_measured" in line} == {
        "triton": "there is no CUDA device",
        "FFC": "mmseg is not installed",
    }
    assert "form of the layers: " in done.stdout and "chunk of the vote: " in done.stdout


def test_a_form_that_is_wrong_is_never_chosen(capsys):
    kit = gpu.Kit("cpu", True, float("inf"))
    times = [("composite", 3.0, True), ("blocked", 2.0, True), ("triton", 1.0, False), ("plain layer", 0.1, True)]
    for form, seconds, right in times:
        kit.lines.append(dict(work="forward + backward", form=form, seconds=seconds, right=right))
    kit.choose()
    assert "form of the layers: blocked (" in capsys.readouterr().out


def test_of_chunks_that_are_nearly_as_fast_the_smallest_is_chosen(capsys):
    kit = gpu.Kit("cpu", True, float("inf"))
    for form, seconds in (("chunk 32 MiB", 2.0), ("chunk 64 MiB", 1.03), ("chunk 128 MiB", 1.0)):
        kit.lines.append(dict(work="vote", form=form, seconds=seconds, right=True))
    kit.choose()
    assert "chunk of the vote: chunk 64 MiB (" in capsys.readouterr().out


def test_nothing_new_starts_when_the_time_is_up():
    kit = gpu.Kit("cpu", True, 0.0)
    kit.layer((8, 16), 5, torch.float32)
    assert all("seconds" not in line for line in kit.lines)
    assert kit.lines[-1]["not_measured"] == "the time was up"


def test_without_a_gpu_the_full_run_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        gpu.main([])
    assert stopped.value.code == 2 and "--quick" in capsys.readouterr().err
