"""The notebooks run from top to bottom on little data, and what is saved in them is clean."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
from repository import ROOT

NEEDS = {"ffc_in_ten_minutes": "torchvision", "detectron2_own_data": "detectron2", "mmseg_own_data": "mmseg"}
SHORTER = {  # what stands in the place of the parameters
    "ffc_in_ten_minutes": "epochs, train_images, val_images = 1, 7, 3",
    "detectron2_own_data": "iterations, train_images, val_images = 6, 6, 3",
    "mmseg_own_data": "iterations, train_images, val_images = 6, 6, 3",
}
MOST_BYTES = 1_500_000  # of all together


def cells(name, kind="code"):
    content = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def outputs(name):
    return [output for cell in cells(name) for output in cell["outputs"]]


def test_the_folder_holds_these_notebooks():
    found = list((ROOT / "notebooks").glob("*.ipynb"))
    assert {path.stem for path in found} == set(NEEDS)
    assert sum(path.stat().st_size for path in found) < MOST_BYTES


@pytest.mark.parametrize("name", NEEDS)
def test_saved_outputs_are_those_of_one_clean_run(name):
    counts = [cell["execution_count"] for cell in cells(name)]
    assert counts == list(range(1, len(counts) + 1))
    found = outputs(name)
    assert {output["output_type"] for output in found} <= {"stream", "display_data", "execute_result"}
    assert [output for output in found if output.get("name") == "stderr"] == []
    assert sum("image/png" in output.get("data", {}) for output in found) >= 2
    printed = "".join("".join(output.get("text", ())) for output in found)
    assert printed and not re.search(r"warning|traceback|(^|[\s'\"=(])/(\w+/)+|127\.0\.0\.1|localhost", printed, re.I)


@pytest.mark.parametrize("name", NEEDS)
def test_links_of_a_notebook_exist(name):
    links = re.findall(r"\]\(([^)\s]+)\)", "\n".join(map(source, cells(name, "markdown"))))
    assert links and [link for link in links if not (ROOT / "notebooks" / link.partition("#")[0]).is_file()] == []


@pytest.mark.parametrize("name", NEEDS)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path):
    if importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    lines, replaced = [], 0
    for cell in cells(name):
        is_parameters = "parameters" in cell["metadata"].get("tags", ())
        replaced += is_parameters
        lines.append(SHORTER[name] if is_parameters else source(cell))
    assert replaced == 1
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "run.py").write_text("\n\n".join(lines))
    environment = dict(
        os.environ, MPLBACKEND="agg", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="-1", PYTHONPATH=str(ROOT)
    )
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tmp_path / "notebooks", env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert done.stdout.count("\n") > 5
