"""Table 1, Grad-CAM and export of a classifier against what is computed by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from class_folders import write_images
from repository import ROOT

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from small_classifier import disagreeing

from ffc_dense.classification import Classifier
from ffc_dense.classification.commands import export
from ffc_dense.classification.commands.analyze import analyze
from ffc_dense.classification.inspection.gradcam import ImageExplainer
from ffc_dense.errors import UserError
from ffc_dense.export.checking import verify
from ffc_dense.export.recording import load, write
from ffc_dense.inspection.table import markdown

FFC, STOCK = (
    str(ROOT / "configs/imagenet" / f"resnet18{kind}_1xb4-2_mini-imagenet-32x32_instant_test.py")
    for kind in ("-ffc", "")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspection")
    write_images(folder / "data" / "mini_imagenet")
    for name, path in (("ffc", FFC), ("stock", STOCK)):
        init_default_scope("mmpretrain")
        torch.manual_seed(0)
        model = disagreeing(MODELS.build(Config.fromfile(path).model), 0)
        torch.save({"state_dict": model.state_dict()}, folder / f"{name}.pth")
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def logits_of(classifier):
    """Feature (N, C), outputs (M, N, K), labels (N,) of the validation images."""
    features = []
    handle = classifier.model.head.fc.register_forward_pre_hook(lambda _, args: features.append(args[0]))
    paths = sorted(Path("data/mini_imagenet/val").glob("*/*.JPEG"))
    for path in paths:
        features.clear()
        classifier(path)
        yield features[0][0]
    handle.remove()


def test_the_rows_are_those_of_a_literal_count(folder, literal):
    report = analyze(FFC, "ffc.pth", [], 3, "out")
    classifier = Classifier(FFC, "ffc.pth", "cpu")
    feature = torch.stack(list(logits_of(classifier)))
    layer = classifier.model.head.fc
    with torch.no_grad():
        outputs = torch.stack(literal.outputs(layer, feature))
        stages = literal.stages(feature, list(layer.filters), -1)
    truth = torch.arange(10).repeat_interleave(3)
    winners = [literal.winners(ballot)[0] for ballot in literal.samples(outputs, 2)]
    voted = torch.stack([outputs[m, n] for n, m in enumerate(winners)])
    first = outputs[0].argmax(1)
    logits = {**{f"out{m + 1}": outputs[m] for m in range(7)}, "mean": outputs.mean(0), "vote": voted}
    assert [row["name"] for row in report["outputs"]] == list(logits)
    assert (report["images"], report["decisions"], report["metric"]) == (30, 30, "top1")
    for row in report["outputs"]:
        probabilities = logits[row["name"]].softmax(1)
        label = probabilities.argmax(1)
        assert row["top1"] == pytest.approx(100 * (label == truth).double().mean().item(), abs=1e-4)
        assert row["mean_confidence"] == pytest.approx(probabilities.amax(1).mean().item(), abs=1e-4)
        assert row["true_probability"] == pytest.approx(probabilities[range(30), truth].mean().item(), abs=1e-4)
        assert row["changed"] == pytest.approx((label != first).double().mean().item())
        assert row["fixed"] == pytest.approx(((label == truth) & (first != truth)).double().mean().item())
    for i, stage in enumerate(stages):
        assert report["outputs"][2 * i]["active_units"] == pytest.approx((stage > 0).sum(1).double().mean().item())
    assert [row["won"] for row in report["outputs"][:7]] == [winners.count(m) / 30 for m in range(7)]
    gains = {row["class"]: row["gain"] for row in report["class_gain"]}
    right = [(logits[name].argmax(1) == truth).view(10, 3).double().mean(1) for name in ("vote", "out1")]
    assert [gains[f"n{k:08d}"] for k in range(10)] == pytest.approx((100 * (right[0] - right[1])).tolist())
    fixed = [entry["boxes"][0] for entry in report["gallery"]["fixed"]]
    assert len(fixed) == min(3, int(((voted.argmax(1) == truth) & (first != truth)).sum()))
    assert all(box["after"] == box["truth"] != box["before"] and box["kind"] == "fixed" for box in fixed)
    assert markdown(report).count("\n") == 10


def test_a_stock_model_has_one_row(folder):
    report = analyze(STOCK, "stock.pth", [], 3, "out")
    assert [row["name"] for row in report["outputs"]] == ["stock"] and report["outputs"][0]["active_units"] > 0
    assert list(report["class_scores"]) == [f"n{k:08d}" for k in range(10)]
    assert np.mean(list(report["class_scores"].values())) == pytest.approx(report["outputs"][0]["top1"], abs=1e-4)


def literal_map(model, x, output, label):
    """ReLU(sum of mean gradient times activation) by backpropagation through the whole model."""
    kept = []
    handle = model.backbone.layer4.register_forward_hook(lambda _, args, out: kept.append(out))
    feats = model.extract_feat(x)
    handle.remove()
    logits = model.head.outputs(feats) if hasattr(model.head, "outputs") else model.head(feats)[None]
    (gradient,) = torch.autograd.grad(logits[output, 0, label], kept[0])
    return (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0].relu().detach().numpy()


@pytest.mark.parametrize(("config", "checkpoint"), [(FFC, "ffc.pth"), (STOCK, "stock.pth")])
def test_the_maps_are_those_of_literal_backpropagation(folder, config, checkpoint):
    cfg = Config.fromfile(config)
    for step in cfg.test_dataloader.dataset.pipeline:  # a map of 3 x 3
        step.update({key: 96 for key in ("scale", "crop_size") if key in step})
    image = np.random.default_rng(0).integers(0, 256, (120, 150, 3)).astype(np.uint8)
    explainer = ImageExplainer(Classifier(cfg, checkpoint, "cpu"))
    (picture,) = explainer(image)
    assert picture.image.shape == (96, 96, 3)
    reference = Classifier(cfg, checkpoint, "cpu")
    mean, std = (torch.tensor(values)[:, None, None] for values in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    x = ((torch.from_numpy(picture.image.copy()).permute(2, 0, 1).float() - mean) / std)[None]
    assert [each.output for each in picture.outputs] == ([1, 3, 5, 7] if config == FFC else [1])
    said = reference(image).outputs
    for each in picture.outputs:
        assert each.label == each.target == said[each.output - 1].label
        expected = literal_map(reference.model, x, each.output - 1, each.label)
        expected = cv2.resize(expected, (96, 96), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(each.map, expected, rtol=1e-3, atol=1e-5)
    assert any(each.map.std() > 0 for each in picture.outputs)
    with pytest.raises(UserError, match="--pixel: a classifier decides on the image as a whole"):
        explainer(image, pixel=(1, 1))


@pytest.mark.parametrize("reduction", ["vote", "mean", "out2"])
def test_an_exported_classifier_answers_as_the_model(folder, tmp_path, reduction):
    model = export.load(FFC, "ffc.pth", [], reduction, [])
    path = tmp_path / "model.pt2"
    write(model, path, "torch_export")
    agreement = verify(model.reference, load(path, "torch_export"), model.checks, export.compare)
    assert agreement.passes and agreement.decisions == 69
    labels = torch.cat([model.reference(x)[1] for x in model.checks])
    assert len(labels.unique()) > 1
    wrong = export.load(FFC, "ffc.pth", [], "out7", [])
    assert not verify(wrong.reference, load(path, "torch_export"), model.checks, export.compare).passes


def test_an_export_is_checked_on_noise_and_not_on_files(folder):
    with pytest.raises(UserError, match="--images are for detectors"):
        export.load(FFC, "ffc.pth", [], None, ["a.jpg"])
