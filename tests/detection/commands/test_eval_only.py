"""An evaluation in a training's folder leaves the training's files as they are."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from tools_in_process import run_tool

pytest.importorskip("detectron2")

from detectron2.data.datasets import register_coco_instances
from small_detector import small_cfg, small_model

from ffc_dense.minidata import make_mini_coco

QUICK = ("MODEL.RPN.POST_NMS_TOPK_TEST", 10)
LAZY = """
from detectron2.config import LazyCall as L
from detectron2.evaluation import COCOEvaluator
from tiny_training import tiny_lazy_cfg

cfg = tiny_lazy_cfg("lazy", "eval_only_val")
train, model, optimizer, lr_multiplier = cfg.train, cfg.model, cfg.optimizer, cfg.lr_multiplier
dataloader = cfg.dataloader
dataloader.test = L(list)()
dataloader.evaluator = L(COCOEvaluator)(dataset_name="eval_only_val", output_dir="${...train.output_dir}/inference")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = make_mini_coco(tmp_path_factory.mktemp("eval_only") / "mini_coco", 1, 2)
    annotations = root / "annotations" / "instances_val2017.json"
    register_coco_instances("eval_only_val", {}, str(annotations), str(root / "val2017"))
    return root


@pytest.fixture
def run(tmp_path, data, monkeypatch):
    """A training's folder, with what trainings leave."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    (folder / "inference").mkdir(parents=True)
    cfg = small_cfg("FFCStandardROIHeads", *QUICK, "DATASETS.TEST", ("eval_only_val",), "OUTPUT_DIR", "run")
    (folder / "config.yaml").write_text(cfg.dump())
    for name in ("log.txt", "metrics.json", "inference/coco_instances_results.json"):
        (folder / name).write_text("{}\n")
    torch.save({"model": small_model().state_dict()}, folder / "model_final.pth")
    (folder / "last_checkpoint").write_text("model_final.pth")
    return folder


def contents(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("tool", ["train_net", "eval_coco"])
def test_an_evaluation_with_an_override_changes_no_file_of_the_run(run, tool):
    before = contents(run)
    own = {"train_net": ["--eval-only"], "eval_coco": ["--output", run]}[tool]
    weights = ["MODEL.WEIGHTS", run / "model_final.pth", "MODEL.ROI_BOX_HEAD.FFC.TEST_REDUCE", "mean"]
    code, _, err = run_tool(tool, "--config-file", run / "config.yaml", *own, *weights)
    assert code == 0, err[-2000:]
    after = contents(run)
    assert {path: after[path] for path in before} == before
    assert yaml.safe_load((run / "eval_only" / "config.yaml").read_text())["MODEL"]["ROI_BOX_HEAD"]["FFC"][
        "TEST_REDUCE"] == "mean"  # fmt: skip
    if tool == "train_net":
        assert json.loads((run / "results.json").read_text())["evaluated"]["reduction"] == "mean"
        assert (run / "eval_only" / "inference" / "coco_instances_results.json").is_file()


def test_an_evaluation_in_a_folder_of_its_own_follows_detectron2(run):
    args = ["--config-file", run / "config.yaml", "--eval-only", "MODEL.WEIGHTS", run / "model_final.pth"]
    for threshold in (0.05, 0.1):  # again, into the folder of the first
        code, _, err = run_tool("train_net", *args, "OUTPUT_DIR", "own", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold)
        assert code == 0, err[-2000:]
        settings = yaml.safe_load(Path("own/config.yaml").read_text())
        assert settings["MODEL"]["ROI_HEADS"]["SCORE_THRESH_TEST"] == threshold
    names = {path.name for path in Path("own").iterdir()}
    assert {"config.yaml", "results.json", "inference"} <= names and "eval_only" not in names


def test_a_lazy_evaluation_changes_no_file_of_the_run(run):
    from tiny_training import tiny_model

    Path("lazy.py").write_text(LAZY)
    folder = Path("lazy")
    folder.mkdir()
    for name in ("config.yaml", "metrics.json", "log.txt"):
        (folder / name).write_text("{}\n")
    torch.save({"model": tiny_model().state_dict()}, folder / "model_final.pth")
    before = contents(folder)
    code, _, err = run_tool(
        "lazyconfig_train_net", "--config-file", "lazy.py", "--eval-only", "train.init_checkpoint=lazy/model_final.pth"
    )
    assert code == 0, err[-2000:]
    after = contents(folder)
    assert {path: after[path] for path in before} == before
    assert (folder / "eval_only" / "log.txt").is_file() and (folder / "results.json").is_file()


def test_a_lazy_evaluation_refuses_classes_in_another_order_than_in_the_training(run):
    from tiny_training import tiny_model

    Path("lazy.py").write_text(LAZY + 'dataloader.test.dataset = dict(names="eval_only_val")\n')
    names = ["0", "1", "2", "3", "5", "4", "6", "7", "8", "9"]
    torch.save({"model": tiny_model().state_dict(), "class_names": names}, "swapped.pth")
    code, _, err = run_tool(
        "lazyconfig_train_net", "--config-file", "lazy.py", "--eval-only", "train.init_checkpoint=swapped.pth"
    )
    assert code == 2 and "eval_only_val: class 4 is '4', in the training of swapped.pth it was '5'" in err, err[-2000:]
