import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

HERE = Path(__file__).parent


def test_a_rank_without_proposals_neither_hangs_nor_diverges(tmp_path):
    """Two gloo processes, find_unused_parameters=False."""
    config = HERE.parent / "configs" / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
    worker = HERE / "workers" / "ddp_detection.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(worker), str(config), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1))
    assert min(first["proposals"]) > 0 and set(second["proposals"]) == {0}
    assert torch.equal(first["weights"], second["weights"])
    assert first["weights"].isfinite().all()
    assert len(second["filters"]) == 6 and max(second["filters"]) > 0  # rank 0's share arrived
