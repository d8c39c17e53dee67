"""What pip installs: the wheel alone, in a folder that knows nothing of the clone, does the main job."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from repository import ROOT

YAML = "mini_coco/faster_rcnn_R_18_FPN_ffc.yaml"
PSPNET = "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"  # a build leaves files behind
    for name in ("ffc_dense", "configs", "tools"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "model-index.yml"):
        shutil.copy(ROOT / name, clone)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, clone]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("ffc_dense-*.whl")
    return found


def test_the_wheel_holds_package_configs_scripts_and_the_program(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "ffc-dense = ffc_dense.cli.__main__:main" in file.read(entry).decode()
        metadata = file.read(next(name for name in names if name.endswith("METADATA"))).decode()
    for folder in ("configs", "tools"):
        files = {
            p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"
        }
        assert files <= {name.removeprefix("ffc_dense/.mim/") for name in names}
    package = {p.relative_to(ROOT).as_posix() for p in (ROOT / "ffc_dense").rglob("*") if p.is_file()}
    assert {name for name in package if "__pycache__" not in name} <= names
    assert {"ffc_dense/py.typed", "ffc_dense/.mim/model-index.yml"} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "evidence/"))]
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert {line.split()[1].split(">")[0] for line in required} == {
        "torch",
        "jinja2",
        "numpy",
        "Pillow",
        "PyYAML",
        "tqdm",
    }


@pytest.mark.slow
def test_the_wheel_alone_trains_evaluates_predicts_and_exports(wheel, tmp_path):
    pytest.importorskip("detectron2")
    pytest.importorskip("mmseg")
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(list(map(str, command)), check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "DETECTRON2_DATASETS": "data", "PYTHONWARNINGS": "ignore",
                   "CUDA_VISIBLE_DEVICES": "-1"}  # fmt: skip

    def run(*command):
        done = subprocess.run(list(map(str, command)), cwd=here, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    where = run(sys.executable, "-c", "import ffc_dense, sys; print(ffc_dense.__file__, sys.path)")
    assert where.startswith(str(site)) and str(ROOT / "ffc_dense") not in where

    def program(*args):
        return run(sys.executable, site / "bin" / "ffc-dense", *args)

    program("minidata", "all", "--root", "data", "--num-train", 6, "--num-val", 3)
    short = ["SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 1, "SOLVER.STEPS", "(1,)", "SOLVER.IMS_PER_BATCH", 2]
    program("train", YAML, *short, "DATASETS.TEST", "()")
    program(
        "train", f"mini_cityscapes/{PSPNET}.py", "--device", "cpu", "--cfg-options", "train_cfg.max_iters=2",
        "train_cfg.val_interval=2", "param_scheduler.0.end=2", "train_dataloader.batch_size=2",
        "default_hooks.checkpoint.interval=2",
    )  # fmt: skip
    detector, segmentor = "work_dirs/faster_rcnn_R_18_FPN_ffc/model_final.pth", f"work_dirs/{PSPNET}/iter_2.pth"
    for config, checkpoint, images in (
        (YAML, detector, "data/mini_coco/val2017"),
        (f"mini_cityscapes/{PSPNET}.py", segmentor, "data/mini_cityscapes/leftImg8bit/val"),
    ):
        output = here / f"out {checkpoint.split('/')[1]}"
        table = program("evaluate", config, checkpoint, "--reduce", "vote,mean", "--output", output / "evaluation")
        assert "| vote |" in table and "| mean |" in table
        assert (output / "evaluation" / "reductions.json").is_file()
        program("predict", config, checkpoint, "--input", images, "--output", output / "pictures", "--opinions")
        assert len([path for path in (output / "pictures").rglob("*") if path.is_file()]) >= 3
    program("export", f"mini_cityscapes/{PSPNET}.py", segmentor, "--output", "pspnet.onnx")
    assert (here / "pspnet.onnx").stat().st_size > 1e6
    program("report", "work_dirs")
    assert (here / "work_dirs" / "report.html").is_file()
    assert "mini_coco" in program("overhead", "--only", "mini_coco/faster").replace("faster_rcnn_R_18_FPN", "mini_coco")
