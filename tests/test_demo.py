"""``make demo`` from end to end with few iterations."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

ROOT = Path(__file__).parent.parent


def demo(work):
    iterations = ["--detection-iterations", "3", "--segmentation-iterations", "3"]
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--work-dir", str(work), *iterations]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_demo_ends_with_table_and_pictures_and_keeps_what_is_done(tmp_path):
    out = demo(tmp_path)
    rows = [line.split("|")[1:-1] for line in (tmp_path / "table.md").read_text().splitlines()[2:]]
    assert [(row[1].strip(), row[2].strip()) for row in rows] == [("stock", "-"), ("FFC", "vote"), ("FFC", "mean")] * 2
    parameters = [int(row[6].replace(",", "")) for row in rows]
    assert parameters[1] - parameters[0] == 2 * 256 * 3 and parameters[4] - parameters[3] == 2 * 64 * 3
    for name in ("detection.png", "segmentation.png"):
        assert name in out
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 500
    assert out.strip().splitlines()[-1].startswith("One seed of a short run")
    assert demo(tmp_path).count("done already") == 10
