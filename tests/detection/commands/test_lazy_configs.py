"""Every command that takes a yaml config takes a LazyConfig, and answers as the model does."""

import json
from pathlib import Path

import pytest
import torch
from tools_in_process import run_tool

pytest.importorskip("detectron2")

from detectron2.config import LazyConfig, instantiate
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from tiny_datasets import register

from ffc_dense.detection import Detector, DetectorEnsemble, EvalCheckpointer, PerReduction
from ffc_dense.detection.commands import script_of
from ffc_dense.frameworks import DETECTRON2
from ffc_dense.method.reductions import reduced
from ffc_dense.paper import read_runs

TEXT = """
from detectron2 import model_zoo
from detectron2.layers import ShapeSpec

from ffc_dense.detection import FFCFastRCNNOutputLayers

dataloader = model_zoo.get_config("common/data/coco.py").dataloader
lr_multiplier = model_zoo.get_config("common/coco_schedule.py").lr_multiplier_1x
model = model_zoo.get_config("common/models/mask_rcnn_fpn.py").model
optimizer = model_zoo.get_config("common/optim.py").SGD
train = model_zoo.get_config("common/train.py").train
for key in ("mask_in_features", "mask_pooler", "mask_head"):
    model.roi_heads.pop(key)

stages = model.backbone.bottom_up.stages
stages.depth = 18
del stages.stride_in_1x1
model.backbone.bottom_up.freeze_at = 0
stages.norm = model.backbone.bottom_up.stem.norm = "BN"
model.backbone.out_channels = model.proposal_generator.head.in_channels = 16
model.proposal_generator.post_nms_topk = [20, 10]
heads = model.roi_heads
heads.num_classes = 10
heads.batch_size_per_image = 8
heads.box_head.input_shape = ShapeSpec(channels=16, height=7, width=7)
heads.box_head.fc_dims = [16]
heads.box_predictor.input_shape = ShapeSpec(channels=16)
heads.box_predictor.test_score_thresh = 0.0
{ffc}

dataloader.train.dataset.names = dataloader.test.dataset.names = "NAME"
dataloader.train.mapper.use_instance_mask = False
dataloader.train.num_workers = dataloader.test.num_workers = 0
dataloader.train.total_batch_size = 2
for mapper in (dataloader.train.mapper, dataloader.test.mapper):
    mapper.augmentations[0].short_edge_length = 96
    mapper.augmentations[0].max_size = 128
    mapper.augmentations[0].pop("sample_style", None)
train.init_checkpoint, train.device, train.output_dir, train.max_iter = "", "cpu", "lazy{name}", 2
train.seed = 4
del key, stages, heads, mapper
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """ffc.py and stock.py with ffc.pth and stock.pth, whose weights are random."""
    folder = tmp_path_factory.mktemp("lazy")
    dataset = register(folder, "coco")
    for name, ffc in (("ffc", "heads.box_predictor._target_ = FFCFastRCNNOutputLayers"), ("stock", "")):
        (folder / f"{name}.py").write_text(TEXT.replace("NAME", dataset).format(ffc=ffc, name=name))
        torch.manual_seed(0)
        model = instantiate(LazyConfig.load(str(folder / f"{name}.py")).model)
        torch.save(
            {"model": model.state_dict(), "class_names": [f"digit {i}" for i in range(10)]}, folder / f"{name}.pth"
        )
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def by_hand(reduction: str) -> dict:
    cfg = LazyConfig.load("ffc.py")
    model = instantiate(cfg.model)
    EvalCheckpointer(model).load("ffc.pth")
    evaluator = COCOEvaluator(cfg.dataloader.test.dataset.names, use_fast_impl=False)
    with reduced(model, reduction):
        return inference_on_dataset(model, instantiate(cfg.dataloader.test), evaluator)["bbox"]


def test_evaluate_scores_each_reduction_as_the_configs_own_loader_and_evaluator_do(tmp_path):
    module, args = script_of(
        "evaluate", "ffc.py", "lazy", ["ffc.pth", "--reduce", "vote,out1", "--output", str(tmp_path)]
    )
    assert module == f"{DETECTRON2.adapter}.commands.evaluate"
    code, out, err = run_tool("eval_coco", *args)
    assert code == 0, err[-3000:]
    report = json.loads((tmp_path / "reductions.json").read_text())
    for name in ("vote", "out1"):
        assert report["results"][name]["bbox"]["AP50"] == pytest.approx(by_hand(name)["AP50"], abs=1e-9)
    assert report["weights"] == "ffc.pth" and out.count("| bbox |") == 2
    files = list(tmp_path.rglob("coco_instances_results.json"))
    assert {path.parent.name for path in files} == {"vote", "out1"}


@pytest.mark.parametrize("name", ["ffc", "stock"])
def test_opinions_are_written_without_changing_the_scores(tmp_path, name):
    scores = []
    for flags in ([], ["--opinions"]):
        code, _, err = run_tool("eval_coco", "--config-file", f"{name}.py", "--output", tmp_path, *flags,
                                f"train.init_checkpoint={name}.pth")  # fmt: skip
        assert code == 0, err[-3000:]
        scores.append(json.loads((tmp_path / "reductions.json").read_text())["results"])
    assert scores[0] == scores[1] and list(scores[0]) == ["vote" if name == "ffc" else "stock"]
    entries = json.loads(next(tmp_path.rglob("coco_instances_results.json")).read_text())
    assert all(len(entry["pred_class_probs"]) == 11 for entry in entries)
    assert ("vote_count" in entries[0]) == (name == "ffc")


def test_an_ensemble_of_lazy_configs_is_scored_as_its_models_detect(tmp_path):
    code, _, err = run_tool("eval_coco", "--config-file", "ffc.py", "--output", tmp_path, "--ensemble", "stock.pth",
                            "--ensemble-configs", "stock.py", "train.init_checkpoint=ffc.pth")  # fmt: skip
    assert code == 0, err[-3000:]
    report = json.loads((tmp_path / "ensemble.json").read_text())
    cfg = LazyConfig.load("ffc.py")
    members = [instantiate(LazyConfig.load(f"{name}.py").model).eval() for name in ("ffc", "stock")]
    for member, name in zip(members, ("ffc", "stock"), strict=True):
        EvalCheckpointer(member).load(f"{name}.pth")
    evaluators = {name: COCOEvaluator(cfg.dataloader.test.dataset.names, use_fast_impl=False)
                  for name in ("vote", "mean")}  # fmt: skip
    loader = instantiate(cfg.dataloader.test)
    expected = inference_on_dataset(DetectorEnsemble(members), loader, PerReduction(evaluators))
    for name in ("vote", "mean"):
        assert report["results"][name]["bbox"]["AP50"] == pytest.approx(expected[name]["bbox"]["AP50"], abs=1e-9)


def test_analysis_gradcam_and_export_take_it(folder, tmp_path):
    images = folder / "coco" / "val2017"
    code, _, err = run_tool("analyze_outputs", "ffc.py", "ffc.pth", "--output", tmp_path / "a", "--gallery", "1")
    assert code == 0, err[-3000:]
    report = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert report["images"] == 2 and report["classes"] == list("0123456789")
    code, _, err = run_tool("gradcam", "ffc.py", "ffc.pth", "--input", images, "--output", tmp_path / "b", "--limit", 1,
                            "--confidence-threshold", 0, "--target", "digit 3")  # fmt: skip
    assert code == 0, err[-3000:]
    assert len(list((tmp_path / "b").glob("*.png"))) == 2
    code, out, err = run_tool("export_model", "ffc.py", "ffc.pth", "--output", tmp_path / "a.pt", "--reduce", "mean",
                              "--format", "torchscript")  # fmt: skip
    assert code == 0, err[-3000:]
    assert "reduction mean" in out and (tmp_path / "a.pt").is_file()


def test_predict_draws_and_a_detector_finds_what_the_model_finds(folder, tmp_path):
    images = folder / "coco" / "val2017"
    code, _, err = run_tool("demo_detect", "--config-file", "ffc.py", "--weights", "ffc.pth", "--input", images,
                            "--output", tmp_path, "--confidence-threshold", 0, "--opinions",
                            "--reduce", "mean")  # fmt: skip
    assert code == 0, err[-3000:]
    assert len(list(tmp_path.glob("*.jpg"))) == 2
    detector = Detector("ffc.py", "ffc.pth", confidence_threshold=0.1)
    assert detector.metadata.thing_classes[3] == "digit 3"
    cfg = LazyConfig.load("ffc.py")
    model = instantiate(cfg.model).eval()
    model.roi_heads.box_predictor.test_score_thresh = 0.1
    EvalCheckpointer(model).load("ffc.pth")
    for inputs in instantiate(cfg.dataloader.test):
        with torch.no_grad():
            (expected,) = model(inputs)
        found = detector(inputs[0]["file_name"])
        assert len(found) > 0 and torch.equal(found.scores, expected["instances"].scores)
        assert torch.equal(found.pred_boxes.tensor, expected["instances"].pred_boxes.tensor)
        assert found.has("vote_count")
    stock = Detector("stock.py", "stock.pth")(inputs[0]["file_name"])
    assert stock.has("pred_class_probs") and not stock.has("vote_count")


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("eval_coco", ["--config-file", "ffc.py"], "nothing to evaluate: add train.init_checkpoint=CHECKPOINT"),
        ("eval_coco", ["--config-file", "ffc.py", "train.init_checkpoint=stock.pth"], "cls_score.filters.0"),
        ("eval_coco", ["--config-file", "ffc.py", "--weights-only", "train.init_checkpoint=ffc.pth"], "is a program"),
        (
            "eval_coco",
            ["--config-file", "ffc.py", "--ensemble", "ffc.pth", "train.init_checkpoint=ffc.pth"],
            "--output",
        ),
        ("analyze_outputs", ["ffc.py", "ffc.pth", "model.roi_headz=1"], "did you mean roi_heads"),
        ("analyze_outputs", ["ffc.py", "ffc.pth", "dataloader.test.dataset.names=gone"], "is registered as 'gone'"),
        ("gradcam", ["ffc.py", "stock.pth", "--input", "coco/val2017", "--output", "x"], "cls_score.filters.0"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tool, arguments, said):
    code, _, err = run_tool(tool, *arguments)
    line = [line for line in err.splitlines() if "error: " in line][-1]
    assert code == 2 and said in line


def test_runs_of_lazy_configs_are_in_the_table_and_paired(folder):
    for name in ("stock", "ffc"):
        code, _, err = run_tool("lazyconfig_train_net", "--config-file", f"{name}.py", "--dataset-check", "off")
        assert code == 0, err[-3000:]
    code, _, err = run_tool(
        "lazyconfig_train_net", "--config-file", "ffc.py", "--eval-only",
        "train.init_checkpoint=lazyffc/model_final.pth", "+model.roi_heads.box_predictor.test_reduce=mean",
    )  # fmt: skip
    assert code == 0, err[-3000:]
    ffc, stock = sorted(read_runs([Path("lazystock"), Path("lazyffc")]), key=lambda run: run.variant)
    assert stock.key == ffc.key and (stock.variant, ffc.variant) == ("stock", "FFC")
    assert (stock.seed, stock.iteration, stock.max_iterations) == (4, 2, 2) and stock.finished
    assert set(stock.scores) == {"stock"} and set(ffc.scores) == {"vote", "mean"}
    assert (stock.name, ffc.name) == ("stock", "ffc")
