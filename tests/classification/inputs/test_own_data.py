"""``--data`` for classifiers: a folder per class, in the place of a config's dataset."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from class_folders import write_images
from repository import ROOT
from tools_in_process import program

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmpretrain.registry import DATASETS, METRICS

from ffc_dense.classification.inputs.own_data import own_data_options
from ffc_dense.cli.entry import run
from ffc_dense.errors import UserError
from ffc_dense.openmmlab.inputs.read_config import parse_options

TINY = ROOT / "configs/imagenet/resnet18-ffc_1xb4-2_mini-imagenet-32x32_instant_test.py"
LARGE = ROOT / "configs/imagenet/resnetv1d50-ffc_8xb128-200e-cosine-smooth-mixup_in1k.py"
CLIPS = ROOT / "configs/mini_hmdb51/resnext3d-mini-ffc_1xb12-200_mini-hmdb51-rgb-16f.py"
CLASSES = [f"n{k:08d}" for k in range(3)]


@pytest.fixture(autouse=True)
def shades(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    return write_images(tmp_path / "shades", classes=3)


def test_train_evaluate_and_predict_take_the_folder(shades, capfd):
    off = "default_hooks.preemption.interval=0"
    assert program("train", TINY, "--data", "shades", "--work-dir", "out", "--cfg-options", off) == 0
    assert program("evaluate", TINY, "out/iter_2.pth", "--data", "shades", "--output", "scores") == 0
    scores = json.loads(Path("scores/reductions.json").read_text())["results"]["vote"]
    assert "top1" in scores and "top5" not in scores
    shutil.rmtree("shades/val")
    predict = ["predict", TINY, "out/iter_2.pth", "--input", "shades/train", "--output", "drawn"]
    assert program(*predict, "--data", "shades") == 0
    rows = json.loads(Path("drawn/predictions.json").read_text())
    assert len(rows) == 9 and {row["class"] for row in rows} <= set(CLASSES)


@pytest.mark.parametrize("config", [TINY, LARGE])
def test_every_dataset_and_number_of_classes_is_that_of_the_folder(shades, config):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(parse_options(own_data_options(cfg, shades, "train")))
    assert cfg.model.head.num_classes == 3
    assert (cfg.get("data_preprocessor") or cfg.model.data_preprocessor).num_classes == 3
    for loader, split in (("train_dataloader", "train"), ("test_dataloader", "val")):
        dataset = DATASETS.build(cfg[loader].dataset)
        assert list(dataset.metainfo["classes"]) == CLASSES and len(dataset) == 9
        assert Path(dataset.get_data_info(0)["img_path"]).parent == shades / split / CLASSES[0]
    assert METRICS.build(cfg.test_evaluator).topk == (1,)


def test_the_scripts_in_tools_take_it_too(shades, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["mmseg_tool.py", "train", str(TINY), "--data", "gone", "--work-dir", "out"])
    with pytest.raises(SystemExit) as stopped:
        run("ffc_dense.openmmlab.commands.scripts")
    assert stopped.value.code == 2 and "gone/train has no folder per class" in capfd.readouterr().err


@pytest.mark.parametrize(("config", "spoil", "said"), [
    (TINY, lambda root: shutil.rmtree(root / "val"), "val has no folder per class"),
    (TINY, lambda root: root.rename("my shades"), "no path with spaces"),
    (TINY, lambda root: shutil.rmtree(root / "val" / CLASSES[1]), "same class folders; only one has n00000001"),
    (CLIPS, lambda root: None, "one of clips, in the layout of HMDB51: give train_dataloader"),
])  # fmt: skip
def test_what_is_wrong_with_the_folder_is_named(shades, config, spoil, said):
    spoil(shades)
    folder = "my shades" if "spaces" in said else shades
    with pytest.raises(UserError, match=said):
        own_data_options(Config.fromfile(config), folder, "train")


def test_detectron2_s_configs_name_what_they_take(capfd):
    config = ROOT / "configs/mini_coco/faster_rcnn_R_18_FPN_ffc.yaml"
    pytest.importorskip("detectron2")
    assert program("evaluate", config, "a.pth", "--data", "shades") == 2
    assert "--dataset NAME ANNOTATIONS IMAGES" in capfd.readouterr().err
