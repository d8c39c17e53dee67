"""Table 1 of a detector: every number against a literal count over the proposals; the command line."""

import importlib
import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import literal_report
import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.modeling import build_model
from detectron2.structures import Boxes, BoxMode
from literal_report import NAMES
from repository import ROOT
from small_detector import small_cfg

from ffc_dense.detection import AllReductions, PerReduction
from ffc_dense.detection.inspection.analysis import AnalyzedDetector, AnnotatedMapper, match_truth
from ffc_dense.errors import UserError
from ffc_dense.inspection.decisions import NONE
from ffc_dense.method.reductions import ffc_layers
from ffc_dense.minidata import make_mini_coco

CONFIG = ROOT / "configs" / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
CLASSES = [str(i) for i in range(10)]
SMALL = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.RPN.POST_NMS_TOPK_TEST", 40)


def small_model(roi_heads="FFCStandardROIHeads", *opts):
    """Weights with which the outputs disagree and proposals have many classes."""
    torch.manual_seed(0)
    model = build_model(small_cfg(roi_heads, *SMALL, *opts)).eval()
    with torch.no_grad():
        for layer in ffc_layers(model):
            layer.weight.normal_(0, 0.5)
            for norm in layer.filters:
                norm.weight.normal_()
                norm.bias.normal_()
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(folder, dataset name): a mini dataset under a name of its own, with one crowd region."""
    folder = tmp_path_factory.mktemp("analysis")
    make_mini_coco(folder / "data" / "mini_coco", 2, 4)
    path = folder / "data" / "mini_coco" / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    name = f"analysis_{os.getpid()}"
    register_coco_instances(name, {}, str(path), str(folder / "data" / "mini_coco" / "val2017"))
    yield folder, name
    DatasetCatalog.remove(name)


def loader(name):
    cfg = small_cfg("FFCStandardROIHeads", "DATASETS.TEST", (name,))
    return build_detection_test_loader(cfg, name, mapper=AnnotatedMapper(cfg, is_train=False))


# --- the ground truth of a proposal -----------------------------------------------------------------------------------


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return both / (sum(area) - both) if both else 0.0, both / area[1]


def literal_truth(boxes, one, background):
    """Labels of boxes on the input image, in plain Python."""
    height, width = one["image"].shape[-2:]
    scale = [width / one["width"], height / one["height"]] * 2
    placed = []
    for each in one["annotations"]:
        x, y, w, h = each["bbox"]
        placed.append(([v * s for v, s in zip((x, y, x + w, y + h), scale, strict=True)], each))
    found = []
    for box in boxes.tolist():
        objects = [(iou(corners, box)[0], each["category_id"]) for corners, each in placed if not each.get("iscrowd")]
        best = max(objects, key=lambda pair: pair[0], default=(0, None))
        in_crowd = any(iou(corners, box)[1] >= 0.5 for corners, each in placed if each.get("iscrowd"))
        found.append(best[1] if best[0] >= 0.5 else NONE if in_crowd else background)
    return found


def annotation(box, label, crowd):
    return dict(bbox=box, bbox_mode=BoxMode.XYWH_ABS, category_id=label, iscrowd=crowd)


def record(*annotations):
    boxes = [annotation(*each) for each in annotations]
    return {"image": torch.zeros(3, 100, 100), "height": 50, "width": 200, "annotations": boxes}


def test_truth_is_the_class_of_the_best_overlap_of_at_least_half_else_background():
    one = record(([20, 10, 40, 20], 3, 0), ([100, 10, 40, 20], 7, 0), ([0, 40, 200, 10], 1, 1))
    # On the 100 x 100 input: (10, 20, 30, 60), (50, 20, 70, 60) and the crowd (0, 80, 100, 100).
    boxes = Boxes(torch.tensor([[10, 20, 30, 60], [10, 20, 30, 40], [10, 20, 30, 39], [52, 20, 70, 60],
                                [0, 80, 10, 95], [0, 60, 10, 95], [80, 0, 90, 10]]).float())  # fmt: skip
    expected = [3, 3, 10, 7, NONE, 10, 10]  # exactly half is enough; 15 of 35 rows in the crowd are not
    assert match_truth(boxes, one, 10).tolist() == expected == literal_truth(boxes.tensor, one, 10)


def test_truth_without_boxes_objects_or_annotations():
    some, none = Boxes(torch.tensor([[0.0, 0, 10, 10]])), Boxes(torch.empty(0, 4))
    assert match_truth(some, record(), 10).tolist() == [10]
    assert match_truth(none, record(([0, 0, 5, 5], 1, 0), ([0, 0, 5, 5], 1, 1)), 10).tolist() == []
    assert match_truth(some, {**record(), "annotations": None}, 10).tolist() == [NONE]


# --- the statistics ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def seen_by_the_classifier(model, one):
    """Proposals and box features of one image, in the stock order of calls."""
    images = model.preprocess_image([one])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    heads = model.roi_heads
    pooled = heads.box_pooler([features[f] for f in heads.box_in_features], [proposals[0].proposal_boxes])
    return proposals[0].proposal_boxes.tensor, heads.box_head(pooled)


@pytest.fixture(scope="module")
@torch.no_grad()
def counted(data, literal):
    """A report with three images per gallery, and what a literal count of the same proposals needs.

    ``decisions``: (winner, truth, 9 labels, 9 x 11 probabilities) of each; ``images``: (entry of the gallery without
    its counts and boxes, boxes of the proposals, first decision, last).
    """
    model = small_model()
    analyzed = AnalyzedDetector(model, CLASSES, gallery=3)
    layer = model.roi_heads.box_predictor.cls_score
    found = SimpleNamespace(decisions=[], images=[], active=[0] * 7)
    for batch in loader(data[1]):
        one = batch[0]
        boxes, feature = seen_by_the_classifier(model, one)
        one["annotations"] += [  # some of its own proposals: those of random weights miss the objects
            annotation([x, y, x2 - x, y2 - y], i % 10, 0) for i, (x, y, x2, y2) in enumerate(boxes[::3].tolist())
        ]
        one["height"], one["width"] = one["image"].shape[-2:]
        analyzed(batch)
        outputs, mean = literal.outputs(layer, feature), literal.mean(layer, feature)
        stages = literal.stages(feature, list(layer.filters), -1)
        active = [int((each > 0).sum()) for each in literal_report.features(stages)]
        found.active = [total + count for total, count in zip(found.active, active, strict=True)]
        truth = literal_truth(boxes, one, 10)
        about = {"image": one["file_name"], **{key: one[key] for key in ("image_id", "height", "width")}}
        first = len(found.decisions)
        found.images.append((about, boxes.tolist(), first, first + len(truth)))
        for r, (ballot, true) in enumerate(zip(literal.samples(torch.stack(outputs), 2), truth, strict=True)):
            winner = literal.winners(ballot)[0]
            logits = [*ballot, mean[r].tolist(), ballot[winner]]
            labels = [scores.index(max(scores)) for scores in logits]
            found.decisions.append((winner, true, labels, [softmax(scores) for scores in logits]))
    found.report = analyzed.analysis.report("AP", {})
    return found


def test_every_number_is_that_of_a_literal_count_over_the_proposals(counted):
    report, total = dict(counted.report), len(counted.decisions)
    winner, truth, labels, probabilities = (torch.tensor(each) for each in zip(*counted.decisions, strict=True))
    known, labels, probabilities = truth != NONE, labels.T, probabilities.transpose(0, 1)
    assert 0 < int(known.sum()) < total and len(truth[known].unique()) > 3
    right = probabilities.gather(2, truth.clamp(min=0).expand(9, total)[..., None])[..., 0]
    active = [count / total for count in counted.active]
    expected = literal_report.output_rows(
        labels, probabilities.amax(2), right, truth, known, winner, active, "AP", [None] * 9
    )
    literal_report.assert_outputs(report.pop("outputs"), expected)
    literal_report.assert_agreement(report.pop("agreement"), literal_report.agreement_rows(labels, truth, known))
    stages = report.pop("stages")
    assert [stage["name"] for stage in stages] == ["F0", "F1", "F2", "F3"]
    assert [stage["active_units"] for stage in stages] == pytest.approx(active[::2])
    assert set(report.pop("gallery")) == {"fixed", "broken"}  # the next test's
    assert report == {"metric": "AP", "images": 4, "decisions": total, "labelled": int(known.sum()), "bins": 15,
                      "features": 32, "class_gain": []}  # fmt: skip


def literal_entry(counted, about, boxes, first, last):
    """An image's entry of the gallery: its changed proposals, those first of whose vote the confidence is highest."""
    names, changed = [*CLASSES, "background"], []
    for box, (_, true, labels, p) in zip(boxes, counted.decisions[first:last], strict=True):
        before, after = labels[0], labels[-1]
        if true != NONE and (before == true) != (after == true):
            changed.append({
                "box": box, "kind": "fixed" if after == true else "broken", "before": names[before],
                "after": names[after], "truth": names[true], "before_confidence": max(p[0]),
                "after_confidence": max(p[-1]),
            })  # fmt: skip
    changed.sort(key=lambda each: -each["after_confidence"])
    assert len(changed) < 40  # all of them are shown
    kinds = Counter(each["kind"] for each in changed)
    return {**about, "fixed": kinds["fixed"], "broken": kinds["broken"], "boxes": changed}


def test_the_gallery_has_the_images_of_most_changes_and_every_changed_box(counted):
    entries = [literal_entry(counted, *image) for image in counted.images]
    for kind in ("fixed", "broken"):
        expected = sorted((each for each in entries if each[kind]), key=lambda each: -each[kind])[:3]
        assert len(expected) > 1
        found = counted.report["gallery"][kind]
        assert len(found) == len(expected)
        for ours, literal in zip(found, expected, strict=True):
            assert {key: ours[key] for key in ours if key != "boxes"} == {
                key: literal[key] for key in literal if key != "boxes"
            }
            for box, true in zip(ours["boxes"], literal["boxes"], strict=True):
                assert box["box"] == pytest.approx(true["box"], abs=0.01)
                assert {**box, "box": None} == pytest.approx({**true, "box": None}, abs=1e-4)


def softmax(scores):
    terms = [math.exp(score - max(scores)) for score in scores]
    return [term / math.fsum(terms) for term in terms]


def detections(found):
    return {name: [each["instances"].scores.tolist() for each in images] for name, images in found.items()}


@pytest.mark.parametrize(
    "roi_heads", ["FFCStandardROIHeads", "FFCCascadeROIHeads", "FFCRes5ROIHeads", "StandardROIHeads"]
)
def test_the_detections_are_those_of_the_detector_alone(data, roi_heads):
    model = small_model(roi_heads)
    analyzed = AnalyzedDetector(model, CLASSES)
    batch = next(iter(loader(data[1])))
    predictor = analyzed.predictor
    before = set(vars(predictor))
    found = analyzed(batch)
    names = ["stock"] if roi_heads == "StandardROIHeads" else NAMES
    assert list(found) == names
    expected = AllReductions(model, names)(batch)
    for name in names:
        assert detections(found)[name] == detections(expected)[name], name
    assert set(vars(predictor)) == before and not predictor._forward_pre_hooks
    report = analyzed.analysis.report("AP", {})
    assert report["decisions"] == 40 and len(report["outputs"]) == len(names)
    changed = [row["changed"] for row in report["outputs"]]
    assert max(changed) > 0 if len(names) > 1 else changed == [0]


def test_no_proposals_are_no_decisions(data):
    analyzed = AnalyzedDetector(small_model("FFCStandardROIHeads", "MODEL.RPN.POST_NMS_TOPK_TEST", 0), CLASSES)
    analyzed(next(iter(loader(data[1]))))
    report = analyzed.analysis.report("AP", {})
    assert (report["images"], report["decisions"]) == (1, 0) and report["outputs"][0]["mean_confidence"] is None


def test_a_sigmoid_classifier_is_refused():
    model = small_model()
    model.roi_heads.box_predictor.use_sigmoid_ce = True
    with pytest.raises(ValueError, match="USE_SIGMOID_CE"):
        AnalyzedDetector(model, CLASSES)


# --- the command ------------------------------------------------------------------------------------------------------


def command(folder, *arguments):
    environment = dict(os.environ, DETECTRON2_DATASETS="data", PYTHONWARNINGS="ignore", MPLCONFIGDIR=str(folder))
    done = [sys.executable, ROOT / "tools" / "analyze_outputs.py", *arguments]
    done = list(map(str, done))
    return subprocess.run(done, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_the_command_prints_the_table_and_writes_the_analysis(data):
    folder, name = data
    model = small_model()
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    options = ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 32, *SMALL]
    done = command(folder, CONFIG, "model.pth", "--gallery", 1, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((folder / "analysis_model" / "analysis.json").read_text())
    assert done.stdout.splitlines()[1].startswith("|---") and len(done.stdout.splitlines()) == 2 + 9 + 2
    evaluators = {each: COCOEvaluator(name, tasks=("bbox",), use_fast_impl=False) for each in ("out1", "vote")}
    expected = inference_on_dataset(AllReductions(model, list(evaluators)), loader(name), PerReduction(evaluators))
    found = {row["name"]: row["AP"] for row in report["outputs"]}
    for each in evaluators:
        assert found[each] == pytest.approx(expected[each]["bbox"]["AP"], abs=1e-6)
    for row in report["class_gain"]:
        assert row["vote"] == pytest.approx(expected["vote"]["bbox"][f"AP-{row['class']}"], abs=1e-6)
    pictures = ["active_units.png", "reliability.png", "agreement.png", "class_gain.png"]
    assert report["pictures"] == pictures
    assert all((folder / "analysis_model" / picture).stat().st_size > 5000 for picture in pictures)
    assert [Path(entry["image"]).suffix for entry in report["gallery"]["broken"]] == [".jpg"]


def test_classes_that_differ_from_the_datasets_are_named(data, monkeypatch):
    tool = importlib.import_module("ffc_dense.detection.commands.analyze")
    folder, name = data
    torch.save({"model": small_model().state_dict()}, folder / "ten.pth")
    cfg = small_cfg("FFCStandardROIHeads", "DATASETS.TEST", (name,), "MODEL.WEIGHTS", str(folder / "ten.pth"))
    loader(name)  # reads the names of the categories
    assert tool.load(cfg, 1).class_names[:-1] == MetadataCatalog.get(name).thing_classes
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 9
    with pytest.raises(ValueError, match=rf"NUM_CLASSES is 9, the dataset {name} of DATASETS\.TEST has 10 classes"):
        tool.load(cfg, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.yaml", "m.pth"], "the config missing.yaml is not a file"),
        (["c.yaml", "missing.pth"], "the checkpoint missing.pth is not a file"),
        (["c.yaml", "m.pth", "--cfg-options", "a=1"], "--cfg-options are for mmseg"),
        (["c.py", "m.pth", "SEED", "1"], "SEED 1: c.py is mmseg's"),
        (
            ["lazy.py", "m.pth", "--cfg-options", "a=1"],
            "--cfg-options are for mmseg and mmpretrain, lazy.py is detectron2's",
        ),
        (["c.toml", "m.pth"], "expected detectron2's .yaml, or a .py of mmseg or mmpretrain"),
        (["c.yaml", "m.pth", "--gallery", "-1"], "--gallery: expected a number of images, 0 or more, got -1"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    tool = importlib.import_module("ffc_dense.cli.analyze")
    for name in ("c.yaml", "c.py", "m.pth", "c.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "lazy.py").write_text("from detectron2 import model_zoo\n")
    with pytest.raises(UserError, match=message):
        tool.check_arguments(tool.parse_args(arguments))


def test_a_missing_matplotlib_is_told_before_the_pass(tmp_path, monkeypatch):
    tool = importlib.import_module("ffc_dense.cli.analyze")
    for name in ("c.yaml", "m.pth"):
        (tmp_path / name).write_text("")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it raises ImportError
    with pytest.raises(UserError, match=r"need matplotlib .*pip install -e '\.\[diagnosis\]'"):
        tool.check_arguments(tool.parse_args([str(tmp_path / "c.yaml"), str(tmp_path / "m.pth")]))
