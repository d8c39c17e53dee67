"""Table 1 of a segmentor: the command's every number against a literal count over the pixels."""

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import literal_report
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from repository import ROOT

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.datasets import CityscapesDataset
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image

import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense.inspection.decisions import NONE
from ffc_dense.method.reductions import ffc_layers
from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.segmentation.inspection.analysis import _decided

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

CONFIGS = ROOT / "configs" / "mini_cityscapes"
CLASSES = CityscapesDataset.METAINFO["classes"]
FEATURE_SIZE = 64  # channels of the head
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
    """Per image: truth (H, W), outputs' and the mean's logits (8, K, H, W), active units per output, positions."""
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
        features = literal_report.features(literal.stages(feature, list(layer.filters), -3))
        units = [int((each > 0).sum()) for each in features]
        yield path, torch.where(truth == 255, NONE, truth), logits, units, feature[0, 0].numel()


@pytest.fixture(scope="module")
def analyzed(folder, literal):
    """The command's output, its report, and the decisions on all pixels: 9 labels, confidences and so on of each."""
    config = "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
    model = model_of(config)
    torch.save(model.state_dict(), folder / "model.pth")
    done = command(folder, config, "model.pth")
    assert done.returncode == 0, done.stderr[-3000:]
    kept, units, positions, images = [], 0, 0, {}
    for path, truth, logits, active, count in literal_maps(model, folder, literal):
        p = logits.double().softmax(1).flatten(2)
        confidence, ballots = p[:7].max(1)
        votes = (ballots[:, None] == ballots).sum(0)  # of the class that each output votes for
        winner = (2 * votes + confidence).argmax(0)  # most votes first, then the highest confidence
        row = torch.stack([*p, p[:7].permute(1, 0, 2).gather(1, winner.expand(19, 1, -1))[:, 0]])
        labels, truth = row.argmax(1), truth.flatten()
        right = row.gather(1, truth.clamp(min=0).expand(9, 1, -1))[:, 0]
        kept.append((labels, row.amax(1), right, truth, winner))
        units, positions = units + torch.tensor(active), positions + count
        fixed, broken = ((labels[a] == truth) & (labels[b] != truth) & (truth != NONE) for a, b in ((-1, 0), (0, -1)))
        images[str(path)] = {"fixed": int(fixed.sum()), "broken": int(broken.sum())}
    decisions = SimpleNamespace(**{name: torch.cat(each, -1) for name, each in
                                   zip(("labels", "confidences", "right", "truth", "winner"), zip(*kept, strict=True),
                                       strict=True)})  # fmt: skip
    report = json.loads((folder / "analysis_model" / "analysis.json").read_text())
    return SimpleNamespace(said=done.stdout, report=report, decisions=decisions, images=images,
                           active=(units / positions).tolist())  # fmt: skip


def literal_ious(labels, truth):
    """Per class the IoU in percent over the pixels with a label; None for a class that is nowhere."""
    pairs = [(labels == k, truth == k) for k in range(19)]
    return [100 * float((a & b).sum() / (a | b).sum()) if (a | b).any() else None for a, b in pairs]


def test_every_number_is_that_of_a_literal_count_over_the_pixels(analyzed):
    report, found = dict(analyzed.report), analyzed.decisions
    known, total = found.truth != NONE, len(found.truth)
    assert 0 < int(known.sum()) < total
    slack = 4  # pixels whose two best scores are equal up to rounding may fall to either class
    ious = [literal_ious(labels[known], found.truth[known]) for labels in found.labels]
    scores = [statistics.fmean(iou for iou in row if iou is not None) for row in ious]
    rows = literal_report.output_rows(found.labels, found.confidences, found.right, found.truth, known, found.winner,
                                      analyzed.active, "mIoU", scores)  # fmt: skip
    for ours, literal in zip(report["outputs"], rows, strict=True):
        assert ours["mIoU"] == pytest.approx(literal["mIoU"], abs=0.01)
    outputs = [{**ours, "mIoU": row["mIoU"]} for ours, row in zip(report.pop("outputs"), rows, strict=True)]
    literal_report.assert_outputs(outputs, rows, slack)
    agreement = literal_report.agreement_rows(found.labels, found.truth, known)
    literal_report.assert_agreement(report.pop("agreement"), agreement, slack)
    stages = report.pop("stages")
    assert [stage["name"] for stage in stages] == ["F0", "F1", "F2", "F3"]
    assert [stage["active_units"] for stage in stages] == pytest.approx(analyzed.active[::2])
    gains = {name: (first, vote, vote - first) for name, first, vote in zip(CLASSES, ious[0], ious[-1], strict=True)
             if first is not None and vote is not None}  # fmt: skip
    told = report.pop("class_gain")
    assert {row["class"] for row in told} == gains.keys()
    for row in told:
        assert (row["out1"], row["vote"], row["gain"]) == pytest.approx(gains[row["class"]], abs=0.2)
    assert told == sorted(told, key=lambda row: -row["gain"])
    for name in ("gallery", "pictures", "decision", "palette"):
        assert report.pop(name)
    assert report == {"config": str(CONFIGS / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"),
                      "weights": "model.pth", "framework": "mmseg", "dataset": "CityscapesDataset",
                      "classes": list(CLASSES), "metric": "mIoU", "images": IMAGES, "decisions": total,
                      "labelled": int(known.sum()), "bins": 15, "features": FEATURE_SIZE}  # fmt: skip


def test_the_gallery_has_the_changes_that_its_label_maps_show(analyzed, folder):
    out = folder / "analysis_model"
    for kind in ("fixed", "broken"):
        entries = analyzed.report["gallery"][kind]
        expected = sorted((counts[kind] for counts in analyzed.images.values() if counts[kind]), reverse=True)
        assert [entry[kind] for entry in entries] == pytest.approx(expected, abs=4)
        for entry in entries:
            assert {each: entry[each] for each in ("fixed", "broken")} == pytest.approx(
                analyzed.images[str(folder / entry["image"])], abs=4
            )
            maps = {name: np.array(Image.open(out / path)) for name, path in entry["label_maps"].items()}
            assert list(maps) == ["out1", "vote", "truth"]
            assert {each.shape for each in maps.values()} == {(entry["height"], entry["width"])}
            first, vote, true = maps.values()
            changes = []
            for each, right, wrong in (("fixed", vote, first), ("broken", first, vote)):
                changed = (right == true) & (wrong != true) & (true != 255)
                assert entry[each] == changed.sum()
                pairs = Counter(zip(first[changed].tolist(), vote[changed].tolist(), strict=True))
                told = [change for change in entry["changes"] if change["kind"] == each]
                assert [change["pixels"] for change in told] == [count for _, count in pairs.most_common(8)]
                for change in told:
                    before, after = (CLASSES.index(change[key]) for key in ("before", "after"))
                    y, x = np.nonzero(changed & (first == before) & (vote == after))
                    assert (change["pixels"], change["box"]) == (len(x), [x.min(), y.min(), x.max() + 1, y.max() + 1])
                changes += told
            assert entry["changes"] == changes


def test_the_command_prints_the_table_and_draws_the_pictures(analyzed, folder):
    lines = analyzed.said.splitlines()
    assert lines[1].startswith("|---") and len(lines) == 2 + 9 + 2
    pictures = ["active_units.png", "reliability.png", "agreement.png", "class_gain.png"]
    assert analyzed.report["pictures"] == pictures
    assert all((folder / "analysis_model" / picture).stat().st_size > 5000 for picture in pictures)


def sample(logits, label, truth):
    found = SegDataSample()
    found.seg_logits, found.pred_sem_seg = PixelData(data=logits), PixelData(data=label)
    found.gt_sem_seg = PixelData(data=truth)
    return found


def test_a_binary_head_is_decided_by_the_probability_of_its_label():
    probability = torch.tensor([[[0.9, 0.4], [0.2, 0.5]]])
    label = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])  # mmseg's threshold is 0.3
    truth = torch.tensor([[[0, 1], [255, 1]]])
    label, confidence, right, truth = _decided(sample(probability, label, truth), 255, 2)
    assert label.tolist() == [1, 1, 0, 1] and truth.tolist() == [0, 1, NONE, 1]
    assert confidence.tolist() == pytest.approx([0.9, 0.4, 0.8, 0.5])
    assert right[[0, 1, 3]].tolist() == pytest.approx([0.1, 0.4, 0.5])


def test_huge_and_equal_scores_have_a_confidence():
    logits = torch.tensor([[1e30, 2.0], [-1e30, 2.0], [0.0, 2.0]])[:, None]
    _, confidence, right, _ = _decided(sample(logits, logits.argmax(0, keepdim=True), torch.tensor([[[1, 2]]])), 255, 3)
    assert confidence.tolist() == pytest.approx([1, 1 / 3]) and right.tolist() == pytest.approx([0, 1 / 3])


def test_probabilities_in_strips_are_those_of_the_softmax_and_0_where_a_score_is_not_finite(monkeypatch):
    monkeypatch.setattr("ffc_dense.segmentation.model.opinions.STRIP_ELEMENTS", 40)  # less than two rows
    logits = torch.randn(4, 5, 9, generator=torch.Generator().manual_seed(0)) * 4
    label, truth = logits.argmax(0, keepdim=True), torch.arange(45).view(1, 5, 9) % 4
    truth[0, 4, 8] = 255
    logits[0, 0, 0], logits[1, 0, 1] = float("nan"), float("inf")
    label, confidence, right, truth = _decided(sample(logits, label, truth), 255, 4)
    expected = logits.double().flatten(1).softmax(0).nan_to_num(0)
    known = torch.arange(45)[truth != NONE]
    assert len(known) == 44 and confidence[:2].tolist() == right[:2].tolist() == [0, 0]
    torch.testing.assert_close(confidence.double(), expected[label, torch.arange(45)], atol=1e-6, rtol=0)
    torch.testing.assert_close(right[known].double(), expected[truth[known], known], atol=1e-6, rtol=0)
