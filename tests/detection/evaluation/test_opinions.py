"""tools/eval_coco.py --opinions and --ensemble, on a mini dataset and random weights."""

import json

import pytest
import torch
from repository import ROOT

pytest.importorskip("detectron2")

from detectron2.data.datasets import register_coco_instances
from detectron2.engine import DefaultTrainer
from detectron2.structures import Boxes, Instances
from small_detector import small_model
from tools_in_process import run_tool

from ffc_dense.detection import OpinionCOCOEvaluator
from ffc_dense.minidata import make_mini_coco
from ffc_dense.safe_files import write_safetensors

CONFIGS = ROOT / "configs" / "mini_coco"
FFC, STOCK = CONFIGS / "faster_rcnn_R_18_FPN_ffc.yaml", CONFIGS / "faster_rcnn_R_18_FPN.yaml"
DATASET = "eval_coco_opinions_val"
SMALL = ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.05,
         "MODEL.RPN.POST_NMS_TOPK_TEST", 20, "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0,
         "DATASETS.TEST", f"('{DATASET}',)"]  # fmt: skip
VOTES = {"vote_count", "class_votes", "elected_category_id", "winning_output", "winning_confidence", "num_outputs"}
FORMAT = {"image_id", "category_id", "bbox", "score"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval_coco_opinions")
    make_mini_coco(folder / "mini_coco", 2, 4)
    annotations = folder / "mini_coco" / "annotations" / "instances_val2017.json"
    register_coco_instances(DATASET, {}, str(annotations), str(folder / "mini_coco" / "val2017"))
    model = small_model(seed=1)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[-1] = 0.4  # the background is elected in some boxes
    torch.save({"model": model.state_dict()}, folder / "ffc.pth")
    torch.save({"model": small_model("StandardROIHeads", seed=2).state_dict()}, folder / "stock.pth")
    return folder


@pytest.mark.parametrize("count", [2, 0])
def test_detections_without_opinions_are_refused_with_the_remedy(folder, count):
    found = Instances((40, 50), pred_boxes=Boxes(torch.tensor([[1.0, 2, 9, 9]] * count).view(-1, 4)))
    found.scores, found.pred_classes = torch.full((count,), 0.5), torch.zeros(count, dtype=torch.long)
    evaluator = OpinionCOCOEvaluator(DATASET, output_dir=None)
    evaluator.reset()
    with pytest.raises(ValueError, match=r"no votes: call ffc_dense\.detection\.request_opinions\(cfg\)"):
        evaluator.process([{"image_id": 1}], [{"instances": found}])


def evaluate(folder, output, *arguments, config=FFC, weights="ffc.pth"):
    arguments = ["--config-file", config, "--output", folder / output, *arguments]
    return run_tool("eval_coco", *arguments, "MODEL.WEIGHTS", folder / weights, *SMALL)


def detections(folder, output, reduction):
    return json.loads((folder / output / DATASET / reduction / "coco_instances_results.json").read_text())


@pytest.fixture(scope="module")
def plain(folder):
    code, _, err = evaluate(folder, "plain", "--reduce", "vote,mean")
    assert code == 0, err[-2000:]
    return json.loads((folder / "plain" / "reductions.json").read_text())


def test_opinions_leave_scores_and_detections_as_they_are(folder, plain):
    code, _, err = evaluate(folder, "opinions", "--reduce", "vote,mean", "--opinions")
    assert code == 0, err[-2000:]
    assert json.loads((folder / "opinions" / "reductions.json").read_text()) == plain
    for name in ("vote", "mean"):
        found = detections(folder, "opinions", name)
        assert [{key: entry[key] for key in FORMAT} for entry in found] == detections(folder, "plain", name) != []
        for entry in found:
            assert entry.keys() == {*FORMAT, "pred_class_probs", *VOTES}
            assert len(entry["pred_class_probs"]) == 11
            assert sum(entry["pred_class_probs"]) == pytest.approx(1, abs=1e-5)
            # the dataset's categories are 1 ... 10, the model's classes 0 ... 9
            assert entry["pred_class_probs"][entry["category_id"] - 1] == pytest.approx(entry["score"], abs=1e-6)
            assert entry["elected_category_id"] in (None, *range(1, 11))
            assert 1 <= entry["winning_output"] <= entry["num_outputs"] == 7
            if entry["elected_category_id"] == entry["category_id"]:
                assert entry["class_votes"] == entry["vote_count"]
                if name == "vote":
                    assert entry["winning_confidence"] == pytest.approx(entry["score"], abs=1e-6)
            else:
                assert entry["class_votes"] <= entry["vote_count"]
        elected = {entry["elected_category_id"] for entry in found}
        assert None in elected and len(elected) > 1


def test_a_stock_model_has_its_class_distribution_in_the_file(folder):
    code, _, err = evaluate(folder, "stock", "--opinions", config=STOCK, weights="stock.pth")
    assert code == 0, err[-2000:]
    found = detections(folder, "stock", "stock")
    assert found and all(entry.keys() == {*FORMAT, "pred_class_probs"} for entry in found)


@pytest.mark.parametrize(("config", "weights"), [(FFC, "ffc.pth"), (STOCK, "stock.pth")])
def test_the_detector_is_built_once(folder, monkeypatch, config, weights):
    built, build = [], DefaultTrainer.build_model
    monkeypatch.setattr(DefaultTrainer, "build_model", lambda cfg: built.append(cfg) or build(cfg))
    code, _, err = evaluate(folder, "once", "--opinions", "--reduce", "none", config=config, weights=weights)
    assert code == 2 and len(built) == 1
    message = "the model has no FFC classifier" if config == STOCK else "unknown reduction 'none'"
    assert message in err.splitlines()[-1]


def test_an_ensemble_of_a_checkpoint_with_itself_writes_the_same_detections(folder, plain):
    code, out, err = evaluate(folder, "itself", "--ensemble", folder / "ffc.pth")
    assert code == 0, err[-2000:]
    report = json.loads((folder / "itself" / "ensemble.json").read_text())
    assert report["results"] == plain["results"] and not (folder / "itself" / "reductions.json").exists()
    for name in ("vote", "mean"):
        assert detections(folder, "itself", name) == detections(folder, "plain", name)
    assert out.count(f"| {DATASET} | bbox |") == 2


def test_checkpoints_of_different_configs_are_one_ensemble(folder):
    code, _, err = evaluate(folder, "both", "--opinions", "--reduce", "vote", "--ensemble", folder / "stock.pth",
                            "--ensemble-configs", STOCK)  # fmt: skip
    assert code == 0, err[-2000:]
    report = json.loads((folder / "both" / "ensemble.json").read_text())
    assert report["ensemble"] == [[str(STOCK), str(folder / "stock.pth")]] and list(report["results"]) == ["vote"]
    found = detections(folder, "both", "vote")
    assert {entry["num_outputs"] for entry in found} == {8}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ensemble", "none.pth"], "--ensemble: none.pth is not there"),
        (["--ensemble", "ffc.pth", "--ensemble-configs", STOCK, FFC], "2 configs for 1 --ensemble checkpoints"),
        (["--ensemble", "ffc.pth", "--ensemble-configs", "lazy.py"], "lazy.py and "),
        (["--ensemble", "ffc.pth", "--reduce", "out1"], "an ensemble has the test modes vote, mean, got out1"),
        (["--ensemble", "stock.pth"], "with this config: roi_heads.box_predictor.cls_score.filters.0"),
    ],
)
def test_ensembles_that_cannot_be_evaluated_are_refused(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    code, _, err = evaluate(folder, "refused", *arguments)
    assert code == 2 and message in err.splitlines()[-1]
    assert not (folder / "refused" / "ensemble.json").exists()


def test_weights_only_holds_for_the_members_of_an_ensemble(folder):
    weights = torch.load(folder / "ffc.pth", weights_only=True)["model"]
    write_safetensors(weights, folder / "ffc.safetensors", {})
    arguments = ["--weights-only", "--ensemble", folder / "ffc.pth"]
    code, _, err = evaluate(folder, "refused", *arguments, weights="ffc.safetensors")
    assert code == 2 and f"--ensemble {folder / 'ffc.pth'} is not a .safetensors file" in err.splitlines()[-1]
    assert not (folder / "refused" / "ensemble.json").exists()


def test_members_that_read_images_of_other_sizes_are_refused(folder):
    other = folder / "other.yaml"
    other.write_text(f"_BASE_: {FFC}\nINPUT:\n  MIN_SIZE_TEST: 99\n")
    code, _, err = evaluate(folder, "refused", "--ensemble", folder / "ffc.pth", "--ensemble-configs", other)
    assert code == 2 and "detectors 1 and 2 differ in INPUT.MIN_SIZE_TEST: " in err.splitlines()[-1]


def test_an_ensemble_needs_a_folder_for_its_results(folder):
    code, _, err = run_tool("eval_coco", "--config-file", FFC, "--ensemble", folder / "ffc.pth", "MODEL.WEIGHTS",
                            folder / "ffc.pth")  # fmt: skip
    assert code == 2 and "--output: name a folder for the results of the ensemble" in err
