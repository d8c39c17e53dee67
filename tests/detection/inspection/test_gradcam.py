"""Grad-CAM of a detector's boxes against gradients taken by hand, and tools/gradcam.py with a detector."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT

pytest.importorskip("detectron2")

from detectron2.structures import Boxes, Instances
from small_detector import small_cfg, small_model

from ffc_dense.detection import Detector
from ffc_dense.detection.inspection.gradcam import BoxExplainer
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reporting

TOOLS = ROOT / "tools"
FEW = ["MODEL.RPN.POST_NMS_TOPK_TEST", 20, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "INPUT.MIN_SIZE_TEST", 64]


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, image):
    folder = tmp_path_factory.mktemp("gradcam")
    for heads in ("FFCStandardROIHeads", "StandardROIHeads", "FFCCascadeROIHeads", "FFCRes5ROIHeads"):
        torch.save({"model": small_model(heads).state_dict()}, folder / f"{heads}.pth")
    (folder / "config.yaml").write_text(small_cfg("FFCStandardROIHeads", *FEW).dump())
    (folder / "images").mkdir()
    Image.fromarray(image).save(folder / "images" / "image.png")
    (folder / "images" / "torn.png").write_bytes((folder / "images" / "image.png").read_bytes()[:700])
    return folder


def explainer_of(folder, heads):
    detector = Detector(small_cfg(heads, *FEW), folder / f"{heads}.pth")
    return BoxExplainer(detector)


@pytest.mark.parametrize("heads", ["FFCStandardROIHeads", "StandardROIHeads", "FFCCascadeROIHeads", "FFCRes5ROIHeads"])
def test_the_maps_are_those_of_the_detections_logit_on_the_level_of_its_proposal(folder, image, heads, monkeypatch):
    explainer = explainer_of(folder, heads)
    model = explainer.detector.model
    calls = []
    module = sys.modules["ffc_dense.detection.inspection.gradcam"]
    explain = module.explain
    monkeypatch.setattr(module, "explain", lambda *args: calls.append((args, explain(*args))) or calls[-1][1])
    pictures = explainer(image, None, "vote", 2)
    assert len(pictures) == len(calls) == 2
    features, detections, rows = explainer._detect(image)
    order = detections.scores.argsort(descending=True, stable=True).tolist()
    levels = model.roi_heads.in_features if "Res5" in heads else model.roi_heads.box_in_features
    for ((_, level_map, _, outputs, label), explained), index in zip(calls, order[:2], strict=True):
        name = [each for each in levels if features[each].shape == level_map.shape]
        assert len(name) == 1 and torch.equal(features[name[0]], level_map)
        assert label == int(detections.pred_classes[index])
        # By hand: the level's own gradient through the model's pooler, box head and classifier.
        leaf = level_map.clone().requires_grad_()
        maps, boxes = [leaf if each == name[0] else features[each] for each in levels], [Boxes(rows[index : index + 1])]
        roi = model.roi_heads
        if "Res5" in heads:
            x = roi.res5(roi.pooler(maps, boxes)).mean((2, 3))
        else:
            box_head = roi.box_head[-1] if "Cascade" in heads else roi.box_head
            x = box_head(roi.box_pooler(maps, boxes))
        layer = explainer.predictor.cls_score
        for found, output in zip(explained, outputs, strict=True):
            logits = layer.outputs(x)[output - 1] if "FFC" in heads else layer(x)
            (gradient,) = torch.autograd.grad(logits[0, label], leaf, retain_graph=True)
            assert gradient.any()
            expected = (gradient.mean((2, 3), keepdim=True) * level_map).sum(1)[0].clamp(min=0)
            torch.testing.assert_close(torch.from_numpy(found.map), expected, rtol=1e-3, atol=1e-7)


def test_a_detections_proposal_leads_back_to_its_box_and_score(folder, image):
    explainer = explainer_of(folder, "FFCStandardROIHeads")
    roi = explainer.detector.model.roi_heads
    with torch.no_grad():
        features, detections, rows = explainer._detect(image)
        x = roi.box_head(roi.box_pooler([features[name] for name in roi.box_in_features], [Boxes(rows)]))
        scores, deltas = roi.box_predictor(x)
    each = torch.arange(len(rows))
    assert len(rows) > 5
    torch.testing.assert_close(scores.softmax(1)[each, detections.pred_classes], detections.scores)
    boxes = roi.box_predictor.box2box_transform.apply_deltas(deltas, rows).view(len(rows), -1, 4)
    boxes = Boxes(boxes[each, detections.pred_classes])
    boxes.clip(detections.image_size)
    torch.testing.assert_close(boxes.tensor, detections.pred_boxes.tensor, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("heads", ["FFCStandardROIHeads", "StandardROIHeads"])
def test_of_boxes_that_are_one_after_clipping_the_one_that_nms_kept_is_explained(folder, image, heads, monkeypatch):
    explainer = explainer_of(folder, heads)
    model = explainer.detector.model
    around = torch.tensor([[-5.0, -5, 200, 200], [-40, -40, 300, 300]])  # the image, clipped
    found = Instances((64, 90), proposal_boxes=Boxes(around), objectness_logits=torch.zeros(2))
    monkeypatch.setattr(model.proposal_generator, "forward", lambda *_: ([found], {}))
    # The first row has the higher logit, the second the higher probability, 0.999 against 0.36.
    logits = torch.full((2, 11), -30.0)
    logits[:, [0, 1, -1]] = torch.tensor([[5, 4.9, 4.9], [3, -5, -5]])
    monkeypatch.setattr(explainer.predictor, "_reduced", lambda x: (logits, torch.zeros(2, 40)))
    _, detections, rows = explainer._detect(image)
    best = detections.scores.argmax()
    assert detections.pred_classes[best] == 0 and detections.scores[best] > 0.99
    assert detections.pred_boxes.tensor[best].tolist() == [0, 0, 90, 64]
    assert rows[best].tolist() == [-40, -40, 300, 300] and detections.proposal_index[best] == 1


def test_a_cascades_tied_boxes_are_told_apart_by_the_stages_average(folder, image, monkeypatch):
    explainer = explainer_of(folder, "FFCCascadeROIHeads")
    model = explainer.detector.model
    inside = torch.tensor([[5.0, 5, 60, 60], [10, 10, 80, 50]])
    found = Instances((64, 90), proposal_boxes=Boxes(inside), objectness_logits=torch.zeros(2))
    monkeypatch.setattr(model.proposal_generator, "forward", lambda *_: ([found], {}))
    for stage, predictor in enumerate(model.roi_heads.box_predictor):
        # The last stage alone prefers the first row, and makes both boxes larger than the image.
        logits = torch.full((2, 11), -30.0)
        logits[:, 0], logits[:, -1] = torch.tensor([3.0, 0.0] if stage == 2 else [-5.0, 5.0]), 0.0
        deltas = torch.tensor([[0, 0, 25.0, 25.0]] * 2) if stage == 2 else torch.zeros(2, 4)
        monkeypatch.setattr(predictor, "_reduced", lambda x, found=(logits, deltas): found)
    _, detections, rows = explainer._detect(image)
    best = detections.scores.argmax()
    assert detections.pred_boxes.tensor[best].tolist() == [0, 0, 90, 64]
    assert rows[best].tolist() == [10, 10, 80, 50] and detections.proposal_index[best] == 1


def test_a_detector_without_opinions_is_refused(folder):
    for heads in ("FFCStandardROIHeads", "StandardROIHeads"):
        detector = Detector(small_cfg(heads, *FEW), folder / f"{heads}.pth", opinions=False)
        with pytest.raises(ValueError, match="build the Detector with opinions=True"):
            BoxExplainer(detector)


def test_maps_lie_on_the_image_and_within_the_proposal(folder, image):
    explainer = explainer_of(folder, "FFCStandardROIHeads")
    _, detections, rows = explainer._detect(image)
    best = detections.scores.argsort(descending=True, stable=True)[0]
    left, top, right, bottom = (rows[best] * torch.tensor([56 / 90, 40 / 64] * 2)).tolist()
    (picture,) = explainer(image, [1, 7], None, 1)
    for found in picture.outputs:
        assert found.map.shape == image.shape[:2] == picture.region.shape
        y, x = np.nonzero(found.map)
        assert not len(x) or (x.min() > left - 2 and x.max() < right + 2 and y.min() > top - 2 and y.max() < bottom + 2)


@pytest.fixture(scope="module")
def tool():
    return importlib.import_module("ffc_dense.cli.gradcam")


def arguments(folder, output, *more):
    return list(map(str, [folder / "config.yaml", folder / "FFCStandardROIHeads.pth", "--input", folder / "images",
                          "--output", output, *more]))  # fmt: skip


def test_the_tool_draws_every_box_skips_torn_files_and_says_when_there_is_none(folder, tool, tmp_path, capsys):
    some = arguments(folder, tmp_path, "--limit", "2", "--confidence-threshold", "0")
    assert tool.main(tool.parse_args(some)) == 1
    said = capsys.readouterr()
    assert "2 figures of 1 images" in said.out and "1 skipped" in said.out and "torn.png" in said.err
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"image.png.gradcam{i}.png" for i in (1, 2)]
    assert all(min(Image.open(file).size) > 200 for file in tmp_path.iterdir())
    assert tool.main(tool.parse_args(arguments(folder, tmp_path / "none", "--confidence-threshold", "1"))) == 1
    assert "image.png: no detection of at least 1, no figure" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--outputs", "2,9"], "--outputs 9: the model has the outputs 1 to 7"),
        (["--target", "unicorn"], "--target 'unicorn': expected own, vote or a class"),
        (["--pixel", "3,4"], "--pixel is for mmseg"),
        (["--cfg-options", "a=1"], "--cfg-options are for mmseg"),
        (["--opts", "MODEL.RESNETS.DEPTH", "19"], "MODEL.RESNETS.DEPTH 19 does not work"),
        (["--opts", "MODEL.RESNETS.DEEP", "18"], "MODEL.RESNETS.DEEP in the command line: there is no such key"),
    ],
)
def test_the_tool_names_the_wrong_argument(folder, tool, tmp_path, capsys, more, told):
    with pytest.raises(SystemExit) as ended, reporting("gradcam.py"):
        tool.main(tool.parse_args(arguments(folder, tmp_path / "out", *more)))
    assert ended.value.code == 2 and f"gradcam.py: error: {told}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_too_narrow_image_is_skipped_and_the_others_drawn(folder, tool, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (1, 3000)).save(tmp_path / "in" / "narrow.png")
    (tmp_path / "in" / "whole.png").write_bytes((folder / "images" / "image.png").read_bytes())
    more = ["--confidence-threshold", "0", "--limit", "1", "--input", tmp_path / "in"]
    assert tool.main(tool.parse_args(arguments(folder, tmp_path / "out", *more))) == 1
    said = capsys.readouterr()
    assert "narrow.png: an image of 1x3000 is too narrow for INPUT.MAX_SIZE_TEST" in said.err
    assert "1 figures of 1 images" in said.out and (tmp_path / "out" / "whole.png.gradcam1.png").is_file()


def test_a_wrong_output_is_told_before_any_image_is_read(folder, tool, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"")
    more = ["--outputs", "8", "--input", tmp_path / "torn.png"]
    with pytest.raises(UserError, match="--outputs 8: the model has the outputs 1 to 7"):
        tool.main(tool.parse_args(arguments(folder, tmp_path / "out", *more)))


def test_a_figure_that_cannot_be_written_is_a_wrong_output(folder, tool, tmp_path, capsys):
    (tmp_path / "image.png.gradcam1.png").mkdir()
    with pytest.raises(SystemExit) as ended, reporting("gradcam.py"):
        tool.main(tool.parse_args(arguments(folder, tmp_path, "--confidence-threshold", "0", "--limit", "1")))
    assert ended.value.code == 2
    assert f"gradcam.py: error: --output: {tmp_path}/image.png.gradcam1.png cannot be" in capsys.readouterr().err


def test_the_tool_names_the_missing_library(folder, tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it raises ImportError
    with pytest.raises(SystemExit) as ended, reporting("gradcam.py"):
        tool.main(tool.parse_args(arguments(folder, tmp_path / "out")))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "gradcam.py: error: " in said and "need matplotlib" in said and not (tmp_path / "out").exists()
