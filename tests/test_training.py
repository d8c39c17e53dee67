"""Real trainings through the frameworks' command lines: loss, resume, warm start, test-time augmentation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

import mmseg

from ffc_dense.minidata import make_mini_cityscapes, make_mini_coco

ROOT = Path(__file__).parent.parent
COCO = ROOT / "configs" / "mini_coco"
CITYSCAPES = ROOT / "configs" / "mini_cityscapes"
MMSEG_TOOLS = Path(mmseg.__file__).parent / ".mim" / "tools"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with data/mini_coco and data/mini_cityscapes, where runs share checkpoints."""
    folder = tmp_path_factory.mktemp("training")
    make_mini_coco(folder / "data" / "mini_coco", 4, 2)
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 4, 2)
    return folder


def run(folder, *command, check=True):
    environment = dict(os.environ, DETECTRON2_DATASETS="data", OMP_NUM_THREADS="2", PYTHONWARNINGS="ignore")
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done


def detectron2(folder, config, out, iterations, *opts, flags=(), check=True):
    return run(
        folder, ROOT / "tools" / "train_net.py", "--config-file", COCO / config, *flags, "OUTPUT_DIR", out,
        "SOLVER.MAX_ITER", iterations, "SOLVER.STEPS", "(100,)", "SOLVER.WARMUP_ITERS", 2, "SOLVER.IMS_PER_BATCH", 2,
        "SOLVER.BASE_LR", 0.005, "SOLVER.CHECKPOINT_PERIOD", 6, "DATASETS.TEST", "()", *opts, check=check,
    )  # fmt: skip


def mmseg_train(folder, config, out, iterations, *options, flags=()):
    return run(
        folder, MMSEG_TOOLS / "train.py", CITYSCAPES / config, "--work-dir", out, *flags, "--cfg-options",
        f"train_cfg.max_iters={iterations}", "train_cfg.val_interval=1000", "train_dataloader.batch_size=2",
        "default_hooks.logger.interval=1", "default_hooks.checkpoint.interval=6", *options,
    )  # fmt: skip


def mmseg_losses(out):
    lines = [line for path in sorted(out.glob("*/vis_data/scalars.json")) for line in path.read_text().splitlines()]
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines) if "loss" in entry}


PSP = "pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
FFC_PSP = "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
FFC_DEEPLAB = "deeplabv3-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"


@pytest.mark.ci
def test_detectron2_training_lowers_the_loss_and_resumes(folder):
    out = folder / "ffc_rcnn"
    detectron2(folder, "faster_rcnn_R_18_FPN_ffc.yaml", out, 12)
    done = detectron2(folder, "faster_rcnn_R_18_FPN_ffc.yaml", out, 30, flags=["--resume"])
    assert "Starting training from iteration 12" in done.stdout
    entries = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    losses = {entry["iteration"]: entry["total_loss"] for entry in entries if "total_loss" in entry}
    assert losses[max(losses)] < 0.9 * losses[min(losses)]
    filters = torch.load(out / "model_final.pth", weights_only=True)["model"]
    norm = filters["roi_heads.box_predictor.cls_score.filters.0.weight"]
    assert not torch.equal(norm, torch.ones_like(norm))  # the filters learn


@pytest.mark.ci
def test_detectron2_stock_checkpoint_warm_starts_ffc_but_is_not_evaluated_as_ffc(folder):
    detectron2(folder, "faster_rcnn_R_18_FPN.yaml", folder / "stock_rcnn", 2)
    weights = folder / "stock_rcnn" / "model_final.pth"
    done = detectron2(folder, "faster_rcnn_R_18_FPN_ffc.yaml", folder / "warm", 1, "MODEL.WEIGHTS", weights)
    assert "cls_score.filters.0.{bias, weight}" in done.stdout  # the loader names what was missing
    refused = detectron2(
        folder, "faster_rcnn_R_18_FPN_ffc.yaml", folder / "refused", 1, "MODEL.WEIGHTS", weights,
        "DATASETS.TEST", "('mini_coco_2017_val',)", flags=["--eval-only"], check=False,
    )  # fmt: skip
    assert refused.returncode != 0 and "cannot be evaluated with this config" in refused.stderr


@pytest.mark.ci
def test_mmseg_training_lowers_the_loss_and_resumes(folder):
    out = folder / "ffc_deeplab"
    mmseg_train(folder, FFC_DEEPLAB, out, 6)
    mmseg_train(folder, FFC_DEEPLAB, out, 12, flags=["--resume"])
    losses = mmseg_losses(out)
    assert sorted(losses) == list(range(1, 13))
    assert sum(losses[i] for i in (10, 11, 12)) < 0.9 * sum(losses[i] for i in (1, 2, 3))


@pytest.mark.slow
def test_mmseg_stock_checkpoint_warm_starts_ffc_and_tests_with_augmentation(folder):
    mmseg_train(folder, PSP, folder / "stock_psp", 2, "default_hooks.checkpoint.interval=2")
    weights = folder / "stock_psp" / "iter_2.pth"
    out = folder / "warm_psp"
    done = mmseg_train(folder, FFC_PSP, out, 1, f"load_from={weights}", "default_hooks.checkpoint.interval=1")
    report = done.stdout + done.stderr
    assert "missing keys in source state_dict: decode_head.conv_seg.filters.0.weight" in report
    assert "unexpected key" not in report
    run(folder, MMSEG_TOOLS / "test.py", CITYSCAPES / FFC_PSP, out / "iter_1.pth", "--tta", "--work-dir", out / "tta")
    run(folder, MMSEG_TOOLS / "test.py", CITYSCAPES / FFC_PSP, out / "iter_1.pth", "--work-dir", out / "plain")
    augmented, plain = (json.loads(next((out / name).glob("*/*.json")).read_text()) for name in ("tta", "plain"))
    assert augmented["aAcc"] > 0 and augmented["aAcc"] != plain["aAcc"]


@pytest.mark.slow
def test_evaluations_that_train_net_lacks_are_refused_before_training(folder):
    for option, name in (
        (["TEST.AUG.ENABLED", True], "TEST.AUG.ENABLED"),
        (["DATASETS.TEST", "('voc_2007_test',)"], "voc_2007_test"),
    ):
        done = detectron2(folder, "faster_rcnn_R_18_FPN_ffc.yaml", folder / "x", 1, *option, check=False)
        assert done.returncode != 0 and name in done.stderr
        assert not (folder / "x").exists()


def test_mmseg_counts_flops_of_an_ffc_model(folder):
    script = MMSEG_TOOLS / "analysis_tools" / "get_flops.py"
    done = run(folder, script, CITYSCAPES / FFC_PSP, "--shape", 128, 256)
    assert "Flops:" in done.stdout
