"""Two gloo processes, find_unused_parameters=False, one of which has nothing to learn from: no hang, equal weights."""

import subprocess
import sys

import pytest
import torch
from repository import ROOT

pytest.importorskip("detectron2")

HERE = ROOT / "tests"
CONFIG = HERE.parent / "configs" / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def train(out, steps, case):
    """What each rank saw and has after the training."""
    command = [*LAUNCH, HERE / "workers" / "ddp_detection.py", CONFIG, out, steps, case]
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(out / f"{rank}.pth", weights_only=True) for rank in (0, 1)]


def check(first, second, steps, case):
    assert len(first["proposals"]) == len(second["proposals"]) == steps
    assert set(first["objects"]) == {1} and set(second["objects"]) == {0}
    assert min(first["proposals"]) > 0
    assert set(second["proposals"]) == {0} if case == "no_proposals" else min(second["proposals"]) > 0
    assert torch.equal(first["weights"], second["weights"])
    assert first["weights"].isfinite().all()
    assert len(second["filters"]) == 6 and max(second["filters"]) > 0  # rank 0's share arrived


@pytest.mark.ci
def test_a_rank_without_proposals_neither_hangs_nor_diverges(tmp_path):
    check(*train(tmp_path, 6, "no_proposals"), 6, "no_proposals")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["no_objects", "no_proposals"])
def test_after_200_steps_the_ranks_have_equal_weights(tmp_path, case):
    check(*train(tmp_path, 200, case), 200, case)
