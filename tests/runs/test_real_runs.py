"""Real trainings of two seeds, then the documented evaluations in the same folders, then the table."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

import yaml
from repository import ROOT

from ffc_dense.minidata import make_mini_cityscapes, make_mini_coco

TOOLS = ROOT / "tools"
RCNN, PSP = "faster_rcnn_R_18_FPN", "pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128"
NAMES = {False: "stock", True: "ffc"}
SEVEN = {"vote", "mean", *(f"out{i}" for i in range(1, 8))}


@pytest.fixture
def run(tmp_path):
    def run(script, *args):
        environment = dict(os.environ, DETECTRON2_DATASETS="data", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
        command = [sys.executable, str(TOOLS / script), *map(str, args)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    return run


def table(run, folder, name):
    """{(variant, seed): run} and {(reduction, metric): result} of a config, with what was left out."""
    text = run("results_table.py", *sorted(folder.iterdir()), "--json", folder.parent / "out.json")
    entries = json.loads((folder.parent / "out.json").read_text())
    (group,) = [entry for entry in entries if entry["runs"]]  # one comparison, whatever was evaluated where
    assert group["config"] == name
    results = {(r["reduction"], r["metric"]): r for r in group["results"] if r["variant"] == "FFC"}
    return {(r["variant"], r["seed"]): r for r in group["runs"]}, results, text


@pytest.mark.slow
def test_detectron2_runs_stay_paired_after_evaluations_in_their_folders(run, tmp_path):
    make_mini_coco(tmp_path / "data" / "mini_coco", 3, 2)
    # Written for two processes and run with one: 2 iterations of 2 images.
    small = ["SOLVER.REFERENCE_WORLD_SIZE", 2, "SOLVER.MAX_ITER", 1, "SOLVER.IMS_PER_BATCH", 4,
             "SOLVER.STEPS", "(100,)", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]  # fmt: skip
    configs = {ffc: ROOT / "configs" / "mini_coco" / f"{RCNN}{'_ffc' * ffc}.yaml" for ffc in (False, True)}
    folders = {(ffc, seed): tmp_path / "runs" / f"{NAMES[ffc]}{seed}" for ffc in configs for seed in (1, 2)}
    for (ffc, seed), folder in folders.items():
        run("train_net.py", "--config-file", configs[ffc], *small, "SEED", seed, "OUTPUT_DIR", folder)
    for folder in folders.values():
        recorded = yaml.safe_load((folder / "train_config.yaml").read_text())["SOLVER"]
        assert (recorded["MAX_ITER"], recorded["IMS_PER_BATCH"]) == (2, 2)
    before = table(run, tmp_path / "runs", RCNN)[0]
    assert {key: one["status"] for key, one in before.items()} == {
        (variant, seed): "scored" for variant in ("stock", "FFC") for seed in (1, 2)
    }

    here = folders[True, 2]
    weights = ["MODEL.WEIGHTS", here / "model_final.pth", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]
    mean = ["MODEL.ROI_BOX_HEAD.FFC.TEST_REDUCE", "mean"]
    # In its own folder, and in that of seed 1: neither names the seed.
    run("train_net.py", "--config-file", configs[True], "--eval-only", *weights, *mean, "OUTPUT_DIR", here)
    run("train_net.py", "--config-file", configs[True], "--eval-only", *weights, "OUTPUT_DIR", folders[True, 1])
    assert yaml.safe_load((here / "config.yaml").read_text())["SEED"] == 2  # the training's stays
    runs, results, text = table(run, tmp_path / "runs", RCNN)
    assert {key: (one["iteration"], one["max_iterations"], one["notes"]) for key, one in runs.items()} == {
        key: (2, 2, []) for key in before
    }
    assert set(runs["FFC", 2]["scores"]) == {"vote", "mean"} and set(runs["FFC", 1]["scores"]) == {"vote"}
    assert all(runs[key]["scores"].items() >= before[key]["scores"].items() for key in before)
    assert results["vote", "AP"]["difference"]["seeds"] == [1, 2]
    assert results["mean", "AP"]["difference"]["seeds"] == [2]

    run("eval_coco.py", "--config-file", configs[True], "--reduce", "all", *weights)
    runs, results, text = table(run, tmp_path / "runs", RCNN)
    assert set(runs["FFC", 2]["scores"]) == SEVEN and "Left out" not in text
    assert runs["FFC", 2]["scores"]["vote"]["AP"] == pytest.approx(before["FFC", 2]["scores"]["vote"]["AP"], abs=1e-6)


@pytest.mark.slow
def test_mmseg_runs_stay_paired_after_tests_in_their_folders(run, tmp_path):
    make_mini_cityscapes(tmp_path / "data" / "mini_cityscapes", 3, 2)
    configs = {ffc: ROOT / "configs" / "mini_cityscapes" / f"{PSP.replace('_', '-ffc_', 1) if ffc else PSP}.py"
               for ffc in (False, True)}  # fmt: skip
    folders = {(ffc, seed): tmp_path / "runs" / f"{NAMES[ffc]}{seed}" for ffc in configs for seed in (1, 2)}
    for (ffc, seed), folder in folders.items():
        run("mmseg_tool.py", "train", configs[ffc], "--work-dir", folder, "--cfg-options", f"randomness.seed={seed}",
            "train_cfg.max_iters=2", "train_cfg.val_interval=2", "train_dataloader.batch_size=2",
            "default_hooks.checkpoint.interval=2", "default_hooks.logger.interval=50")  # fmt: skip
    before = table(run, tmp_path / "runs", PSP)[0]
    assert {key: one["status"] for key, one in before.items()} == {
        (variant, seed): "scored" for variant in ("stock", "FFC") for seed in (1, 2)
    }

    here = folders[True, 2]
    test = ["mmseg_tool.py", "test", configs[True], here / "iter_2.pth", "--work-dir", here]
    run(*test, "--cfg-options", "model.decode_head.test_reduce=mean")
    run(*test, "--tta")
    run("mmseg_tool.py", "test", configs[False], folders[False, 1] / "iter_2.pth", "--work-dir", folders[False, 1])
    run("eval_cityscapes.py", configs[True], here / "iter_2.pth", "--reduce", "out1,out2")
    runs, results, text = table(run, tmp_path / "runs", PSP)
    reached = {key: (one["iteration"], one["max_iterations"]) for key, one in runs.items()}
    assert reached == dict.fromkeys(before, (2, 2))
    assert set(runs["FFC", 2]["scores"]) == {"vote", "mean", "out1", "out2"}
    assert all(runs[key]["scores"].items() >= before[key]["scores"].items() for key in before)
    assert results["vote", "mIoU"]["difference"]["seeds"] == [1, 2]
    (note,) = runs["FFC", 2]["notes"]
    assert note.endswith("left out: test-time augmentation (--tta)") and "Left out" not in text
