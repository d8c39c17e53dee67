"""Every evaluator of detectron2's, and what it is asked about: by evaluator_type, and by kind of model."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from tools_in_process import run_tool

pytest.importorskip("detectron2")

from detectron2.data import MetadataCatalog
from detectron2.evaluation import LVISEvaluator, inference_on_dataset
from detectron2.modeling import GeneralizedRCNNWithTTA, build_model
from small_detector import random_images, small_cfg, small_model
from tiny_datasets import KEYPOINTS, PANOPTIC, PRECOMPUTED, RETINANET, SEGMENTOR, register, write_model, write_proposals

from ffc_dense.detection import AllReductions, EvalCheckpointer
from ffc_dense.detection.evaluation import evaluators
from ffc_dense.detection.evaluation.evaluators import build_evaluator, build_test_loader, check_evaluators
from ffc_dense.detection.evaluation.reductions import AugmentedReductions
from ffc_dense.errors import UserError
from ffc_dense.method.reductions import reduced

TTA = ("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64, 96), "TEST.AUG.MAX_SIZE", 200)
EIGHT = ("MODEL.MASK_ON", True, "MODEL.ROI_HEADS.NUM_CLASSES", 8)
MODELS = {  # dataset: (options, ROI heads, the tasks that are scored, a metric of each)
    "coco": ((), "FFCStandardROIHeads", {"bbox": "APs"}),
    "keypoints": (KEYPOINTS, "FFCStandardROIHeads", {"bbox": "AP", "keypoints": "APm"}),
    "pascal_voc": ((), "FFCStandardROIHeads", {"bbox": "AP50"}),
    "sem_seg": (SEGMENTOR, "StandardROIHeads", {"sem_seg": "mIoU"}),
    "cityscapes_sem_seg": (SEGMENTOR, "StandardROIHeads", {"sem_seg": "IoU"}),
    "cityscapes_instance": (EIGHT, "FFCStandardROIHeads", {"segm": "AP50"}),
}
LIBRARY = {"cityscapes_sem_seg": "cityscapesscripts", "cityscapes_instance": "cityscapesscripts", "lvis": "lvis"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluators")


def scored(folder, *arguments):
    """What eval_coco finds: {reduction: {task: {metric: value}}}, and what it prints."""
    code, out, err = run_tool("eval_coco", "--config-file", folder / "config.yaml", "--output", folder / "eval",
                              *arguments)  # fmt: skip
    assert code == 0, err[-3000:]
    return json.loads((folder / "eval" / "reductions.json").read_text())["results"], out


@pytest.mark.parametrize("kind", MODELS)
def test_each_evaluator_scores_its_dataset_as_detectron2_does(root, kind):
    if kind in LIBRARY:
        pytest.importorskip(LIBRARY[kind])
    options, heads, tasks = MODELS[kind]
    folder, dataset = root / f"model_{kind}", register(root, kind)
    cfg = write_model(folder, dataset, *options, heads=heads)
    reductions = ["vote", "out1"] if heads.startswith("FFC") else ["stock"]
    found, out = scored(folder, *(["--reduce", ",".join(reductions)] if len(reductions) > 1 else []))
    assert list(found) == reductions
    assert out.count(f"| {dataset} |") == len(reductions) * len(tasks)
    for name in reductions:
        assert found[name].keys() == tasks.keys()
        assert all(metric in found[name][task] for task, metric in tasks.items())
    model = build_model(cfg)
    EvalCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    with reduced(model, reductions[-1]):
        alone = inference_on_dataset(
            model, build_test_loader(cfg, dataset),
            build_evaluator(dataset, str(folder / "alone"), cfg, official=True),
        )  # fmt: skip
    for task, metric in tasks.items():
        assert found[reductions[-1]][task][metric] == pytest.approx(float(alone[task][metric]), nan_ok=True)


def test_the_tool_of_trainings_scores_them_too(root, tmp_path):
    write_model(tmp_path, register(root, "pascal_voc"))
    code, _, err = run_tool("train_net", "--config-file", tmp_path / "config.yaml", "--eval-only")
    assert code == 0, err[-3000:]
    assert "AP50" in json.loads((tmp_path / "out" / "results.json").read_text())["bbox"]


@pytest.mark.parametrize(("kind", "module"), [("lvis", "lvis"), ("coco_panoptic_seg", "panopticapi")])
def test_a_missing_library_is_named_before_any_data_is_read(root, tmp_path, monkeypatch, kind, module):
    write_model(tmp_path, register(root, kind))
    monkeypatch.setattr(evaluators, "find_spec", lambda name: None)
    code, _, err = run_tool("eval_coco", "--config-file", tmp_path / "config.yaml", "--output", tmp_path / "eval")
    (line,) = [line for line in err.splitlines() if "error: " in line]
    assert code == 2 and f"needs {module}, which is missing: pip install" in line


@pytest.mark.skipif(importlib.util.find_spec("lvis") is None, reason="lvis is not installed")
def test_lvis_is_scored_as_detectron2_does(root, tmp_path, monkeypatch):
    dataset = register(root, "lvis")
    cfg = write_model(tmp_path, dataset)
    found, _ = scored(tmp_path, "--reduce", "vote,mean")
    assert not hasattr(np, "float") or np.__version__ < "1.24"
    monkeypatch.setattr(np, "float", float, raising=False)  # which lvis 0.5.3 asks for
    model = build_model(cfg)
    EvalCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    for name in ("vote", "mean"):
        with reduced(model, name):
            evaluator = LVISEvaluator(dataset, output_dir=str(tmp_path / "alone"))
            alone = inference_on_dataset(model, build_test_loader(cfg, dataset), evaluator)
        assert found[name]["bbox"].keys() == alone["bbox"].keys() >= {"AP", "APr", "APc", "APf"}
        assert found[name]["bbox"] == pytest.approx(dict(alone["bbox"]), nan_ok=True)


def test_an_unknown_evaluator_and_no_dataset_are_refused(root, tmp_path):
    MetadataCatalog.get("evaluators_unknown").evaluator_type = "own"
    with pytest.raises(UserError, match="evaluators_unknown needs the evaluator 'own', here there are coco, "):
        check_evaluators(["evaluators_unknown"], "DATASETS.TEST")
    write_model(tmp_path, register(root, "coco"))
    for tool in (["train_net", "--eval-only"], ["eval_coco"]):
        config = ["--config-file", tmp_path / "config.yaml"]
        code, _, err = run_tool(tool[0], *config, *tool[1:], "DATASETS.TEST", "()")
        assert code == 2 and "DATASETS.TEST: there is nothing to evaluate on; name a registered dataset" in err


# Kinds of models


def test_a_panoptic_model_gives_under_each_reduction_what_it_gives_alone():
    model = small_model("FFCStandardROIHeads", *PANOPTIC)
    names = ["vote", "mean", "out1"]
    found = AllReductions(model, names)(random_images())
    for name in names:
        with reduced(model, name), torch.no_grad():
            expected = model(random_images())
        for one, other in zip(found[name], expected, strict=True):
            assert one.keys() == other.keys() == {"instances", "sem_seg", "panoptic_seg"}
            assert torch.equal(one["sem_seg"], other["sem_seg"])
            assert torch.equal(one["panoptic_seg"][0], other["panoptic_seg"][0])
            assert torch.equal(one["instances"].scores, other["instances"].scores)
            assert torch.equal(one["instances"].pred_masks, other["instances"].pred_masks)
    assert not torch.equal(found["vote"][0]["instances"].scores, found["mean"][0]["instances"].scores)


@pytest.mark.parametrize("kind", ["panoptic", "retinanet", "proposals"])
def test_other_models_are_evaluated_and_analysed(root, tmp_path, kind):
    dataset = register(root, "coco")
    options, heads, names = {
        "panoptic": (PANOPTIC, "FFCStandardROIHeads", ["vote", "mean"]),
        "retinanet": (RETINANET, "StandardROIHeads", ["stock"]),
        "proposals": (
            (*PRECOMPUTED, "DATASETS.PROPOSAL_FILES_TEST", (write_proposals(tmp_path, dataset),)),
            "FFCStandardROIHeads",
            ["vote", "mean"],
        ),
    }[kind]
    write_model(tmp_path, dataset, *options, heads=heads)
    found, _ = scored(tmp_path, *(["--reduce", ",".join(names)] if heads.startswith("FFC") else []))
    assert list(found) == names and all("AP" in found[name]["bbox"] for name in names)
    code, _, err = run_tool("analyze_outputs", tmp_path / "config.yaml", tmp_path / "model.pth",
                            "--output", tmp_path / "analysis")  # fmt: skip
    if kind == "retinanet":
        assert code == 2 and "RetinaNet: it has no ROI heads" in err
    else:
        assert code == 0, err[-3000:]
        report = json.loads((tmp_path / "analysis" / "analysis.json").read_text())
        assert report["images"] == 2 and report["decisions"] > 0


@pytest.mark.parametrize("kind", ["panoptic", "retinanet", "proposals", "segmentor"])
def test_single_images_are_shown_explained_and_exported_or_refused(root, tmp_path, kind):
    dataset = register(root, "coco")
    options, heads = {
        "panoptic": (PANOPTIC, "FFCStandardROIHeads"),
        "retinanet": (RETINANET, "StandardROIHeads"),
        "proposals": ((*PRECOMPUTED, "DATASETS.TEST", ()), "FFCStandardROIHeads"),
        "segmentor": (SEGMENTOR, "StandardROIHeads"),
    }[kind]
    write_model(tmp_path, dataset, *options, heads=heads)
    images = root / "coco" / "val2017"
    config, weights = tmp_path / "config.yaml", tmp_path / "model.pth"
    predict = run_tool("demo_detect", "--config-file", config, "--weights", weights, "--input", images,
                       "--output", tmp_path / "pictures", "--confidence-threshold", "0")  # fmt: skip
    opinions = run_tool("demo_detect", "--config-file", config, "--weights", weights, "--input", images,
                        "--output", tmp_path / "opinions", "--opinions")  # fmt: skip
    gradcam = run_tool("gradcam", config, weights, "--input", images, "--output", tmp_path / "maps",
                       "--confidence-threshold", "0", "--limit", "1")  # fmt: skip
    export = run_tool("export_model", config, weights, "--output", tmp_path / "model.onnx")
    said = {
        "retinanet": (None, "no ROI heads", "no ROI heads", "expected a detectron2 GeneralizedRCNN, got RetinaNet"),
        "panoptic": (None, None, None, "expected a detectron2 GeneralizedRCNN, got PanopticFPN"),
        "proposals": ("an image alone has no proposals",) * 3 + ("PrecomputedProposals",),
        "segmentor": ("no instances",) * 3 + ("expected a detectron2 GeneralizedRCNN",),
    }[kind]
    for (code, _, err), words in zip((predict, opinions, gradcam, export), said, strict=True):
        if words is None:
            assert code == 0, err[-3000:]
        else:
            assert code == 2 and words in err.splitlines()[-1], err[-3000:]
    assert (len(list((tmp_path / "pictures").glob("*.jpg"))) == 2) == (kind in ("retinanet", "panoptic"))


def test_models_without_proposal_files_are_refused_before_the_data(root, tmp_path):
    write_model(tmp_path, register(root, "coco"), *PRECOMPUTED)
    code, _, err = run_tool("eval_coco", "--config-file", tmp_path / "config.yaml", "--output", tmp_path / "eval")
    assert code == 2 and "DATASETS.PROPOSAL_FILES_TEST: the model takes precomputed proposals" in err


# Test-time augmentation


@pytest.mark.parametrize("heads", ["FFCStandardROIHeads", "FFCCascadeROIHeads", "FFCRes5ROIHeads"])
def test_augmentation_gives_under_each_reduction_what_it_gives_alone(heads):
    model = small_model(heads, mask=True)
    augmented = GeneralizedRCNNWithTTA(small_cfg(heads, *TTA, mask=True), model)
    names = ["vote", "mean", "out1"]
    found = AugmentedReductions(model, names, augmented)(random_images())
    for name in names:
        with reduced(model, name), torch.no_grad():
            expected = augmented(random_images())
        for one, other in zip(found[name], expected, strict=True):
            assert torch.equal(one["instances"].scores, other["instances"].scores)
            assert torch.equal(one["instances"].pred_masks, other["instances"].pred_masks)
    assert not torch.equal(found["vote"][0]["instances"].scores, found["mean"][0]["instances"].scores)


def test_augmented_scores_have_names_of_their_own(root, tmp_path):
    write_model(tmp_path, register(root, "coco"), *TTA)
    found, _ = scored(tmp_path, "--reduce", "vote,out1")
    assert {name: list(tasks) for name, tasks in found.items()} == {"vote": ["bbox_TTA"], "out1": ["bbox_TTA"]}
    code, _, err = run_tool("train_net", "--config-file", tmp_path / "config.yaml", "--eval-only")
    assert code == 0, err[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"bbox", "bbox_TTA"} <= results.keys()
    assert results["bbox_TTA"]["AP"] == pytest.approx(found["vote"]["bbox_TTA"]["AP"], abs=1e-6)


def test_a_training_ends_with_the_augmented_scores(root, tmp_path):
    dataset = register(root, "coco")
    write_model(tmp_path, dataset, *TTA, "DATASETS.TRAIN", (dataset,), "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 1)
    code, _, err = run_tool("train_net", "--config-file", tmp_path / "config.yaml", "SOLVER.STEPS", "()")
    assert code == 0, err[-3000:]
    found = {key for line in (tmp_path / "out" / "metrics.json").read_text().splitlines() for key in json.loads(line)}
    assert {"bbox/AP", "bbox_TTA/AP"} <= found


@pytest.mark.parametrize("options", [PANOPTIC, KEYPOINTS, RETINANET], ids=["panoptic", "keypoints", "retinanet"])
def test_augmentation_is_refused_where_detectron2_has_none(root, tmp_path, options):
    heads = "StandardROIHeads" if options is RETINANET else "FFCStandardROIHeads"
    write_model(tmp_path, register(root, "coco"), *options, *TTA, heads=heads)
    code, _, err = run_tool("eval_coco", "--config-file", tmp_path / "config.yaml", "--output", tmp_path / "eval")
    assert code == 2 and "TEST.AUG.ENABLED: detectron2 augments boxes and masks of a GeneralizedRCNN" in err
