"""The core imports torch alone, each adapter its framework alone."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])
sys.meta_path.insert(0, Absent())
"""
FRAMEWORKS = (
    "detectron2",
    "fvcore",
    "mmseg",
    "mmpretrain",
    "mmengine",
    "mmcv",
    "torchvision",
    "numpy",
    "cv2",
    "skimage",
    "sklearn",
)


def run(code, blocked=()):
    script = BLOCK.format(blocked=tuple(blocked)) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


def test_importing_the_core_loads_no_framework():
    done = run(
        "import ffc_dense\n"
        f"print([name for name in {[n for n in FRAMEWORKS if n != 'numpy']!r} if name in sys.modules])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_program_and_the_recogniser_start_without_torch():
    done = run("import sys, ffc_dense.cli.__main__, ffc_dense.frameworks\nprint('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


def test_the_core_works_without_any_framework():
    code = "import torch, ffc_dense\nprint(ffc_dense.FFCLinear(4, 3).eval()(torch.ones(2, 4)).shape)"
    done = run(code, blocked=[name for name in FRAMEWORKS if name != "numpy"])
    assert done.returncode == 0, done.stderr
    assert "torch.Size([2, 3])" in done.stdout


@pytest.mark.parametrize(
    ("adapter", "framework", "remedy"),
    [
        ("detection", "detectron2", "facebookresearch/detectron2"),
        ("segmentation", "mmseg", "ffc_dense[segmentation]"),
        ("classification", "mmpretrain", "ffc_dense[classification]"),
        ("openmmlab", "mmengine", "ffc_dense[segmentation]"),
        ("minidata", "skimage", "ffc_dense[minidata]"),
    ],
)
def test_an_adapter_without_its_framework_names_what_to_install(adapter, framework, remedy):
    done = run(f"import ffc_dense.{adapter}", blocked=[framework])
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"ffc_dense.{adapter}" in last and framework in last.lower().replace("mmsegmentation", "mmseg")
    assert remedy in last


@pytest.mark.parametrize(
    ("adapter", "other"),
    [
        ("detection", ("mmseg", "mmengine", "mmcv")),
        ("segmentation", ("detectron2", "fvcore", "mmpretrain")),
        ("classification", ("detectron2", "fvcore", "mmseg")),
        ("openmmlab", ("mmseg", "mmcv", "detectron2", "fvcore")),
    ],
)
def test_an_adapter_does_not_need_the_other_framework(adapter, other):
    done = run(f"import ffc_dense.{adapter}", blocked=other)
    assert done.returncode == 0, done.stderr


def test_another_import_error_inside_an_adapter_is_not_blamed_on_the_framework():
    done = run("import ffc_dense.detection", blocked=["fvcore"])
    assert done.returncode == 1
    assert "fvcore" in done.stderr.strip().splitlines()[-1]


def test_the_files_beside_the_code_are_installed_with_it(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ffc_dense/minidata/LICENCES.md").is_file()
    for folder, number in (("assets", 6), ("templates", 4)):
        names = [
            sorted(path.name for path in (root / "ffc_dense/report" / folder).iterdir()) for root in (ROOT, tmp_path)
        ]
        assert names[0] == names[1] and len(names[0]) == number
