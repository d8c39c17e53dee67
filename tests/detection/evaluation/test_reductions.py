"""All reductions of a detector in one pass: the same detections as one at a time, features computed once."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from repository import ROOT
from small_detector import random_images as images
from small_detector import small_model
from tools_in_process import run_tool

from ffc_dense.detection import AllReductions, EvalCheckpointer
from ffc_dense.method.reductions import choose_reductions, reduced
from ffc_dense.minidata import make_mini_coco

CONFIGS = ROOT / "configs" / "mini_coco"
ALL = ["vote", "mean", *(f"out{i}" for i in range(1, 8))]


def box_features(model):
    """The modules that make them and how often one pass calls them."""
    heads = model.roi_heads
    if hasattr(heads, "res5"):
        return {heads.res5: 1}
    return dict.fromkeys(heads.box_head, 1) if isinstance(heads.box_head, torch.nn.ModuleList) else {heads.box_head: 1}


@pytest.mark.parametrize(
    ("roi_heads", "mask"),
    [(f"FFC{name}ROIHeads", mask) for name in ("Standard", "Cascade", "Res5") for mask in (False, True)],
)
def test_one_pass_gives_what_each_reduction_alone_gives(roi_heads, mask):
    model = small_model(roi_heads, mask=mask)
    expected = {}
    for name in ALL:
        with reduced(model, name), torch.no_grad():
            expected[name] = model(images())
    found = AllReductions(model, ALL)(images())
    assert list(found) == ALL
    for name in ALL:
        for one, other in zip(found[name], expected[name], strict=True):
            one, other = one["instances"].get_fields(), other["instances"].get_fields()
            assert len(one["scores"]) > 0 and one.keys() == other.keys()
            for field in one:
                first, second = (getattr(value[field], "tensor", value[field]) for value in (one, other))
                assert torch.equal(first, second), (name, field)
    scores = {name: found[name][0]["instances"].scores for name in ALL}
    assert not torch.equal(scores["vote"], scores["mean"])
    assert not torch.equal(scores["out1"], scores["out7"])


@pytest.mark.parametrize("roi_heads", ["FFCStandardROIHeads", "FFCCascadeROIHeads", "FFCRes5ROIHeads"])
def test_box_features_are_computed_once_for_all_reductions(roi_heads):
    model = small_model(roi_heads)
    modules = {model.backbone: 1, **box_features(model)}
    before = {module: copy.copy(vars(module)) for module in modules}
    calls = dict.fromkeys(modules, 0)

    def counting(module, forward):
        def count(*args, **kwargs):
            calls[module] += 1
            return forward(*args, **kwargs)

        return count

    for module in modules:
        module.forward = counting(module, module.forward)
    AllReductions(model, ALL)(images())
    assert calls == modules
    for module in modules:
        del module.forward
        assert vars(module).keys() == before[module].keys()  # nothing of the pass stays behind


def test_no_proposals_give_no_detections_under_any_reduction():
    model = small_model("FFCStandardROIHeads", "MODEL.RPN.POST_NMS_TOPK_TEST", 0)
    for outputs in AllReductions(model, ALL)(images()).values():
        assert [len(output["instances"]) for output in outputs] == [0, 0]


def test_chosen_reductions_are_checked_against_the_model():
    model = small_model()
    assert choose_reductions(model) == ["vote"]
    assert choose_reductions(model, ["all"]) == ALL
    assert choose_reductions(model, ["out3", "vote", "out3"]) == ["out3", "vote"]
    with pytest.raises(ValueError, match=r"'out8'; choose from all, vote, mean, out1"):
        choose_reductions(model, ["vote", "out8"])
    stock = small_model("StandardROIHeads")
    assert choose_reductions(stock) == ["stock"]
    with pytest.raises(ValueError, match="no FFC classifier"):
        choose_reductions(stock, ["vote"])
    assert [len(output["instances"]) > 0 for output in AllReductions(stock, ["stock"])(images())["stock"]] == [True] * 2


def test_classifiers_with_different_reductions_need_a_choice():
    model = small_model("FFCCascadeROIHeads")
    model.roi_heads.box_predictor[1].test_reduce = "mean"
    with pytest.raises(ValueError, match="mean, vote"):
        choose_reductions(model)
    with reduced(model, "out2"):
        assert {predictor.test_reduce for predictor in model.roi_heads.box_predictor} == {"out2"}
    assert [predictor.test_reduce for predictor in model.roi_heads.box_predictor] == ["vote", "mean", "vote"]


def test_an_ffc_checkpoint_is_not_evaluated_as_a_stock_model(tmp_path):
    torch.save({"model": small_model().state_dict()}, tmp_path / "ffc.pth")
    with pytest.raises(RuntimeError, match=r"cls_score\.filters\.0\.weight has no place in the model"):
        EvalCheckpointer(small_model("StandardROIHeads")).load(str(tmp_path / "ffc.pth"))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """tools/eval_coco.py --reduce all on a mini dataset and random weights."""
    folder = tmp_path_factory.mktemp("eval_coco")
    make_mini_coco(folder / "data" / "mini_coco", 2, 6)
    torch.save({"model": small_model().state_dict()}, folder / "model.pth")
    return folder, run(folder, "--reduce", "all", "--output", "out")


def options(*arguments, config="faster_rcnn_R_18_FPN_ffc.yaml", weights="model.pth", more=()):
    """Of tools/eval_coco.py, for a small model."""
    options = ["--config-file", CONFIGS / config, *arguments, *(["MODEL.WEIGHTS", weights] if weights else []), *more]
    options += ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 32]
    options += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.RPN.POST_NMS_TOPK_TEST", 20]
    return list(map(str, options))


def run(folder, *arguments, **settings):
    command = [sys.executable, str(ROOT / "tools" / "eval_coco.py"), *options(*arguments, **settings)]
    environment = dict(os.environ, DETECTRON2_DATASETS="data", OMP_NUM_THREADS="2", PYTHONWARNINGS="ignore")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_eval_coco_reports_what_pycocotools_says_of_its_result_files(evaluated):
    folder, done = evaluated
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((folder / "out" / "reductions.json").read_text())
    assert list(report["results"]) == ALL and report["framework"] == "detectron2"
    truth = COCO(folder / "data" / "mini_coco" / "annotations" / "instances_val2017.json")
    for name in ("vote", "out1"):
        results = folder / "out" / "mini_coco_2017_val" / name / "coco_instances_results.json"
        official = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        official.evaluate()
        official.accumulate()
        official.summarize()
        for column, position in (("AP", 0), ("AP50", 1), ("AP75", 2)):
            assert report["results"][name]["bbox"][column] == pytest.approx(100 * official.stats[position], abs=1e-9)
    assert done.stdout.count("| mini_coco_2017_val | bbox |") == len(ALL)


def test_resume_evaluates_the_last_checkpoint_into_a_folder_of_its_own(evaluated):
    folder, _ = evaluated
    trained = folder / "trained"
    trained.mkdir()
    shutil.copy(folder / "model.pth", trained / "model_0000001.pth")
    (trained / "last_checkpoint").write_text("model_0000001.pth")
    (trained / "config.yaml").write_text("SEED: 7\n")
    done = run(folder, "--resume", "--reduce", "all", weights=None, more=["OUTPUT_DIR", "trained"])
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((trained / "eval_model_0000001" / "reductions.json").read_text())
    assert report["weights"] == "trained/model_0000001.pth" and list(report["results"]) == ALL
    assert (trained / "config.yaml").read_text() == "SEED: 7\n"  # the training's own stays


@pytest.mark.ci
def test_two_processes_find_what_one_finds(evaluated):
    folder, _ = evaluated
    done = run(folder, "--reduce", "vote,out1", "--output", "two", "--num-gpus", "2", "MODEL.DEVICE", "cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((folder / name / "reductions.json").read_text())["results"] for name in ("out", "two"))
    assert two == {name: one[name] for name in ("vote", "out1")}


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["--reduce", "median"], {}, "unknown reduction 'median'; choose from all, vote"),
        (["--reduce", "vote"], dict(config="faster_rcnn_R_18_FPN.yaml"), "no FFC classifier"),
        ([], dict(weights=None), "nothing to evaluate: add MODEL.WEIGHTS"),
        ([], dict(weights="stock.pth"), "with this config: roi_heads.box_predictor.cls_score.filters.0"),
    ],
)
def test_eval_coco_refuses(arguments, settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": small_model().state_dict()}, "model.pth")
    torch.save({"model": small_model("StandardROIHeads").state_dict()}, "stock.pth")
    code, _, err = run_tool("eval_coco", *options(*arguments, "--output", "refused", **settings))
    assert code == 2 and message in err.splitlines()[-1]
    assert not Path("refused/reductions.json").exists()
