"""Two gloo processes, find_unused_parameters=False; one has ignored pixels alone: no hang, equal weights."""

import subprocess
import sys

import pytest
import torch
from repository import ROOT

pytest.importorskip("mmseg")

WORKER = ROOT / "tests" / "workers" / "ddp_segmentation.py"
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.mark.parametrize("steps", [20, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.ci
def test_a_rank_whose_pixels_are_all_ignored_neither_hangs_nor_diverges(tmp_path, steps):
    command = [*LAUNCH, str(WORKER), str(tmp_path), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1))
    assert min(first["labelled_pixels"]) > 0 and second["labelled_pixels"] == [0] * steps
    assert torch.equal(first["weights"], second["weights"])
    assert first["weights"].isfinite().all()
    assert len(second["filters"]) == 6 and max(second["filters"]) > 0  # rank 0's share arrived
