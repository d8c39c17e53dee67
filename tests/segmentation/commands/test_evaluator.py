"""Evaluation and analysis score what the config's own ``test_evaluator`` scores, as mmseg's test.py does."""

import json
import uuid
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from tools_in_process import run_tool

pytest.importorskip("mmseg")

import small_segmentor
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.datasets import CityscapesDataset
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS, MODELS
from mmseg.structures import SegDataSample
from segmentation_runs import write_config

from ffc_dense.minidata import make_mini_cityscapes

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

OPTIONS = {
    "ignores road": dict(type="IoUMetric", ignore_index=0),
    "scores all labels": dict(type="mmseg.IoUMetric", iou_metrics=["mIoU"], nan_to_num=0, ignore_index=-1),
    "Dice": dict(type="mmseg.evaluation.IoUMetric", iou_metrics=["mDice"], prefix="val"),
    "F score": dict(metrics=[dict(type="IoUMetric", iou_metrics=["mFscore", "mIoU"], beta=2, prefix="b")]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluator")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 1, 2)
    path = write_config(folder)
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = small_segmentor.disagreeing(MODELS.build(Config.fromfile(path).model))
    torch.save({"state_dict": model.state_dict()}, folder / "model.pth")
    classes = list(CityscapesDataset.METAINFO["classes"])
    for name, trained in {
        "same": classes,
        "renamed": [*classes[:-1], "bike"],
        "swapped": [classes[1], classes[0], *classes[2:]],
    }.items():
        meta = {"dataset_meta": {"classes": tuple(trained)}}
        torch.save({"state_dict": model.state_dict(), "meta": meta}, folder / f"{name}.pth")
    return folder


def config_with(folder: Path, evaluator, reduction: str = "vote") -> Path:
    path = folder / f"{uuid.uuid4().hex}.py"
    head = f"model = dict(decode_head=dict(test_reduce={reduction!r}))"
    path.write_text(f"_base_ = ['tiny.py']\n{head}\ntest_evaluator = dict(_delete_=True, **{evaluator!r})\n")
    return path


def rounded(score: float) -> np.float32:
    """As mmseg rounds it."""
    return np.round(np.float32(score), 2)


def as_test_py(folder: Path, path: Path) -> dict:
    """What mmseg's test.py reports, which builds its Runner in this way."""
    cfg = Config.fromfile(path)
    cfg.load_from, cfg.work_dir = str(folder / "model.pth"), str(folder / "stock")
    cfg.experiment_name = uuid.uuid4().hex
    with mock.patch("mmengine.runner.runner.collect_env", dict):
        return Runner.from_cfg(cfg).test()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_reduction_is_scored_as_by_the_configs_own_evaluator(folder, options):
    path = config_with(folder, options, "out5")
    expected = {key.rpartition("/")[2]: value for key, value in as_test_py(folder, path).items()}
    out = folder / path.stem
    code, _, said = run_tool("eval_cityscapes", path, folder / "model.pth", "--reduce", "vote,out5", "--no-png",
                             "--output", out)  # fmt: skip
    assert code == 0, said
    found = json.loads((out / "reductions.json").read_text())["results"]
    assert {key: rounded(found["out5"][key]) for key in expected} == expected
    assert expected.keys() == {key for key, value in found["out5"].items() if not isinstance(value, dict)}
    assert found["vote"] != found["out5"]


@pytest.mark.parametrize("name", ["scores all labels", "Dice"])
def test_an_analysis_scores_as_the_configs_own_evaluator(folder, name):
    path = config_with(folder, OPTIONS[name])
    expected = as_test_py(folder, path)
    out = folder / f"analysis_{path.stem}"
    code, _, said = run_tool("analyze_outputs", path, folder / "model.pth", "--output", out, "--gallery", "1")
    assert code == 0, said
    report = json.loads((out / "analysis.json").read_text())
    metric = "mDice" if name == "Dice" else "mIoU"
    vote = next(row for row in report["outputs"] if row["name"] == "vote")
    (own,) = (value for key, value in expected.items() if key.rpartition("/")[2] == metric)
    assert report["metric"] == metric and rounded(vote[metric]) == own
    ignored = OPTIONS[name].get("ignore_index", 255)
    labels = [np.array(each) for each in ground_truth(folder)]
    known = sum(int(((each != ignored) & (each < 19)).sum()) for each in labels)
    assert report["labelled"] == known < report["decisions"]


def ground_truth(folder):
    from PIL import Image

    return map(Image.open, sorted(folder.glob("data/mini_cityscapes/gtFine/val/*/*_labelTrainIds.png")))


def test_cityscapesscripts_is_not_compared_where_it_scores_other_pixels(folder):
    path = config_with(folder, OPTIONS["ignores road"])
    out = folder / "png_only"
    code, _, said = run_tool("eval_cityscapes", path, folder / "model.pth", "--reduce", "mean", "--output", out)
    assert code == 0 and "its scores are left out" in said, said
    assert "cityscapesscripts" not in json.loads((out / "reductions.json").read_text())["results"]["mean"]
    assert len(list((out / "png" / "mean").glob("*.png"))) == 2


def test_reductions_do_not_overwrite_one_anothers_predictions(folder):
    own = folder / "own"
    path = config_with(folder, dict(type="IoUMetric", output_dir=str(own)))
    code, _, said = run_tool("eval_cityscapes", path, folder / "model.pth", "--reduce", "mean,out1", "--no-png",
                             "--output", folder / "two")  # fmt: skip
    assert code == 0, said
    mean, out1 = (sorted(each.name for each in (own / name).iterdir()) for name in ("mean", "out1"))
    assert mean == out1 and len(mean) == 2


def test_a_config_without_an_evaluator_is_refused_by_its_key(folder):
    path = folder / "none.py"
    path.write_text("_base_ = ['tiny.py']\ntest_evaluator = None\n")
    for tool in ("eval_cityscapes", "analyze_outputs"):
        code, _, said = run_tool(tool, path, folder / "model.pth", "--output", folder / "none")
        assert code == 2 and "test_evaluator: the config has none" in said


COMMANDS = {
    "evaluate": ("eval_cityscapes", ["--no-png", "--output", "order"]),
    "ensemble": ("eval_cityscapes", ["--no-png", "--output", "order", "--ensemble", "swapped.pth"]),
    "analyze": ("analyze_outputs", ["--output", "order"]),
    "predict": ("demo_segment", ["--input", "data/mini_cityscapes/leftImg8bit/val", "--output", "order"]),
    "gradcam": ("gradcam", ["--input", "data/mini_cityscapes/leftImg8bit/val", "--output", "order"]),
    "test": ("mmseg_tool", []),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_classes_in_another_order_than_in_the_training_are_refused(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    tool, arguments = COMMANDS[command]
    weights = "same.pth" if command == "ensemble" else "swapped.pth"
    code, _, said = run_tool(tool, *["test"] * (command == "test"), "tiny.py", weights, *arguments)
    told = "class 0 is 'road', in the training of swapped.pth it was 'sidewalk'"
    assert code == 2 and said.count(told) == 1 and told in said.splitlines()[-1], said


@pytest.mark.parametrize("command", ["evaluate", "analyze"])
def test_the_commands_own_lines_come_alone_unless_more_is_asked_for(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    tool, arguments = COMMANDS[command]
    found = []
    for flags in ([], ["--verbose"]):
        code, out, said = run_tool(tool, "tiny.py", "same.pth", *arguments, *flags)
        assert code == 0, said
        found.append((out, [line for line in said.splitlines() if " - INFO - " in line and "Iter(test)" not in line]))
    (quiet, none), (loud, many) = found
    assert quiet == loud and quiet and not none
    assert len(many) > 5


@pytest.mark.parametrize("weights", ["same.pth", "renamed.pth"])
def test_the_same_order_is_evaluated_whatever_the_names(folder, monkeypatch, weights):
    monkeypatch.chdir(folder)
    code, _, said = run_tool("eval_cityscapes", "tiny.py", weights, "--no-png", "--output", "order", "--reduce", "mean")
    assert code == 0, said


@pytest.mark.parametrize("options", [{}, dict(ignore_index=0), dict(nan_to_num=-1), dict(iou_metrics=["mFscore"])])
def test_unrounded_scores_round_to_mmsegs(options):
    stock, ours = IoUMetric(**options), METRICS.build(dict(type="mmseg.UnroundedIoUMetric", **options))
    rng = torch.Generator().manual_seed(0)
    for metric in (stock, ours):
        metric.dataset_meta = dict(classes=["a", "b", "c", "d"])
        rng.manual_seed(0)
        for _ in range(3):
            label, found = (torch.randint(0, 3, (1, 9, 7), generator=rng) for _ in range(2))
            sample = SegDataSample()
            metric.process({}, [dict(sample.to_dict(), pred_sem_seg=dict(data=found), gt_sem_seg=dict(data=label))])
    expected, found = stock.compute_metrics(stock.results), ours.compute_metrics(ours.results)
    assert {key: rounded(found[key]) for key in expected} == expected
