"""Table 1 of a segmentor: the command's every number against a literal count over the pixels."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image

import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense.diagnosis.decisions import NONE
from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.reductions import ffc_layers
from ffc_dense.segmentation.analysis import _decided

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs" / "mini_cityscapes"
NAMES = [*(f"out{i}" for i in range(1, 8)), "mean", "vote"]
IMAGES = 2


def model_of(config):
    """Weights with which the outputs disagree."""
    init_default_scope("mmseg")
    cfg = Config.fromfile(CONFIGS / config)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        model.decode_head.conv_seg.weight.normal_()
        for layer in ffc_layers(model):
            for norm in layer.filters:
                norm.weight.normal_(1, 0.7)
                norm.bias.normal_(0, 0.7)
    return model


def command(folder, config, weights, *options):
    environment = dict(os.environ, PYTHONWARNINGS="ignore", CUDA_VISIBLE_DEVICES="-1", MPLCONFIGDIR=str(folder))
    done = [sys.executable, ROOT / "tools" / "analyze_outputs.py", CONFIGS / config, weights]
    done = list(map(str, [*done, "--cfg-options", f"test_dataloader.dataset.indices={IMAGES}", *options]))
    return subprocess.run(done, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 1, IMAGES + 1)
    return folder


@torch.no_grad()
def literal_maps(model, folder, literal):
    """Per image: truth (H, W), outputs' and the mean's logits (8, K, H, W), active units of the stages, positions."""
    cfg = Config.fromfile(CONFIGS / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py").model
    mean, std = (torch.tensor(cfg.data_preprocessor[key])[:, None, None] for key in ("mean", "std"))
    layer, seen = model.decode_head.conv_seg, []
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    root = folder / "data" / "mini_cityscapes"
    for path in sorted(root.glob("leftImg8bit/val/*/*.png"))[:IMAGES]:
        image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float()
        label = str(path).replace("leftImg8bit/val", "gtFine/val").replace("leftImg8bit", "gtFine_labelTrainIds")
        truth = torch.from_numpy(np.array(Image.open(label))).long()
        model.decode_head(model.extract_feat(((image - mean) / std)[None]))
        feature = seen[-1]
        outputs = [*literal.outputs(layer, feature), literal.mean(layer, feature)]
        logits = F.interpolate(torch.cat(outputs), truth.shape, mode="bilinear", align_corners=False)
        stages = literal.stages(feature, list(layer.filters), -3)
        units = [int((stage > 0).sum()) for stage in stages]
        yield path, torch.where(truth == 255, NONE, truth), logits, units, feature[0, 0].numel()


def test_every_number_is_that_of_a_literal_count_over_the_pixels(folder, literal):
    config = "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
    model = model_of(config)
    torch.save(model.state_dict(), folder / "model.pth")
    done = command(folder, config, "model.pth")
    assert done.returncode == 0, done.stderr[-3000:]
    out = folder / "analysis_model"
    report = json.loads((out / "analysis.json").read_text())
    assert done.stdout.splitlines()[1].startswith("|---") and len(done.stdout.splitlines()) == 2 + 9 + 2
    labels, truths, confidences, rights, winners, images, units, positions = [], [], [], [], [], {}, 0, 0
    for path, truth, logits, active, count in literal_maps(model, folder, literal):
        probabilities = logits.double().softmax(1)
        p = probabilities.flatten(2)
        confidence, ballots = p[:7].max(1)
        votes = (ballots[:, None] == ballots).sum(0)  # of the class that each output votes for
        winner = (2 * votes + confidence).argmax(0)  # most votes first, then the highest confidence
        row = [*p, p[:7].permute(1, 0, 2).gather(1, winner.expand(19, 1, -1))[:, 0]]
        decided = torch.stack([each.argmax(0) for each in row])
        t = truth.flatten()
        right, was_right = decided[-1] == t, decided[0] == t
        images[str(path)] = [int((a & ~b & (t != NONE)).sum()) for a, b in ((right, was_right), (was_right, right))]
        labels.append(decided)
        truths.append(t)
        winners.append(winner)
        confidences.append(torch.stack([each.amax(0) for each in row]))
        rights.append(torch.stack([each.gather(0, t.clamp(min=0)[None])[0] for each in row]))
        units, positions = units + torch.tensor(active), positions + count
    labels, confidences, rights = (torch.cat(each, 1) for each in (labels, confidences, rights))
    truth, winner = torch.cat(truths), torch.cat(winners)
    known, total = truth != NONE, len(truth)
    assert (report["decisions"], report["labelled"], report["images"]) == (total, int(known.sum()), IMAGES)
    assert 0 < int(known.sum()) < total
    close = dict(abs=4 / total)  # a pixel whose two best scores are equal up to rounding may fall to either class
    for m, (name, found) in enumerate(zip(NAMES, report["outputs"], strict=True)):
        right, was_right = (labels[m] == truth)[known].float(), (labels[0] == truth)[known].float()
        assert found["name"] == name and found["accuracy"] == pytest.approx(float(right.mean()), **close)
        assert found["changed"] == pytest.approx(float((labels[m] != labels[0]).double().mean()), **close)
        assert found["fixed"] == pytest.approx(float((right * (1 - was_right)).double().mean()), **close)
        assert found["broken"] == pytest.approx(float((was_right * (1 - right)).double().mean()), **close)
        assert found["mean_confidence"] == pytest.approx(float(confidences[m].mean()), abs=1e-5)
        assert found["true_probability"] == pytest.approx(float(rights[m][known].mean()), abs=1e-5)
        inside = [labels[m][known] == k for k in range(19)], [truth[known] == k for k in range(19)]
        ious = [float((a & b).sum() / (a | b).sum()) for a, b in zip(*inside, strict=True) if (a | b).any()]
        assert found["mIoU"] == pytest.approx(100 * sum(ious) / len(ious), abs=0.01)
        if m < 7:
            assert found["won"] == pytest.approx(float((winner == m).double().mean()), **close)
    expected = [float(count) / positions for count in units]
    assert [stage["active_units"] for stage in report["stages"]] == pytest.approx(expected)
    agreeing = Counter((labels[:7] == labels[-1]).sum(0).tolist())
    shares = [row["share"] for row in report["agreement"]]
    assert shares == pytest.approx([agreeing[k] / total for k in range(8)], **close)
    for place, kind in enumerate(("fixed", "broken")):
        for entry in report["gallery"][kind]:
            assert entry[kind] == pytest.approx(images[str(folder / entry["image"])][place], abs=4)
            maps = {name: np.array(Image.open(out / path)) for name, path in entry["label_maps"].items()}
            assert list(maps) == ["out1", "vote", "truth"] and maps["truth"].shape == (entry["height"], entry["width"])
            first, vote, true = maps.values()
            changed = {"fixed": (vote == true) & (first != true), "broken": (first == true) & (vote != true)}
            assert entry[kind] == (changed[kind] & (true != 255)).sum()
            largest = next(change for change in entry["changes"] if change["kind"] == kind)
            x, y, x2, y2 = largest["box"]
            assert largest["pixels"] <= changed[kind][y:y2, x:x2].sum()
    for picture in ("active_units.png", "reliability.png", "agreement.png", "class_gain.png"):
        assert (out / picture).stat().st_size > 5000


def sample(logits, label, truth):
    found = SegDataSample()
    found.seg_logits, found.pred_sem_seg = PixelData(data=logits), PixelData(data=label)
    found.gt_sem_seg = PixelData(data=truth)
    return found


def test_a_binary_head_is_decided_by_the_probability_of_its_label():
    probability = torch.tensor([[[0.9, 0.4], [0.2, 0.5]]])
    label = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])  # mmseg's threshold is 0.3
    truth = torch.tensor([[[0, 1], [255, 1]]])
    label, confidence, right, truth = _decided(sample(probability, label, truth))
    assert label.tolist() == [1, 1, 0, 1] and truth.tolist() == [0, 1, NONE, 1]
    assert confidence.tolist() == pytest.approx([0.9, 0.4, 0.8, 0.5])
    assert right[[0, 1, 3]].tolist() == pytest.approx([0.1, 0.4, 0.5])


def test_huge_and_equal_scores_have_a_confidence():
    logits = torch.tensor([[1e30, 2.0], [-1e30, 2.0], [0.0, 2.0]])[:, None]
    _, confidence, right, _ = _decided(sample(logits, logits.argmax(0, keepdim=True), torch.tensor([[[1, 2]]])))
    assert confidence.tolist() == pytest.approx([1, 1 / 3]) and right.tolist() == pytest.approx([0, 1 / 3])


def test_probabilities_in_strips_are_those_of_the_softmax_and_0_where_a_score_is_not_finite(monkeypatch):
    monkeypatch.setattr("ffc_dense.segmentation.opinions.STRIP_ELEMENTS", 40)  # less than two rows
    logits = torch.randn(4, 5, 9, generator=torch.Generator().manual_seed(0)) * 4
    label, truth = logits.argmax(0, keepdim=True), torch.arange(45).view(1, 5, 9) % 4
    truth[0, 4, 8] = 255
    logits[0, 0, 0], logits[1, 0, 1] = float("nan"), float("inf")
    label, confidence, right, truth = _decided(sample(logits, label, truth))
    expected = logits.double().flatten(1).softmax(0).nan_to_num(0)
    known = torch.arange(45)[truth != NONE]
    assert len(known) == 44 and confidence[:2].tolist() == right[:2].tolist() == [0, 0]
    torch.testing.assert_close(confidence.double(), expected[label, torch.arange(45)], atol=1e-6, rtol=0)
    torch.testing.assert_close(right[known].double(), expected[truth[known], known], atol=1e-6, rtol=0)
