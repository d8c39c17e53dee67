"""Table 1 of a video classifier against what is computed video by video, and its gallery in the report."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from video_models import saved_model

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from mmengine.config import Config

from ffc_dense.classification.commands.analyze import analyze
from ffc_dense.data.hmdb51_files import read_split
from ffc_dense.inspection.files import write
from ffc_dense.minidata.hmdb51 import make_mini_hmdb51
from ffc_dense.report.gallery import gallery
from ffc_dense.runs.analyses import Analysis, read
from ffc_dense.video.commands.evaluate_streams import outputs_of
from ffc_dense.video.inspection.clip_classifier import ClipClassifier


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_mini_hmdb51(tmp_path_factory.mktemp("data") / "mini_hmdb51", 6, 12)


@pytest.mark.parametrize("kind", ["-ffc", ""])
def test_the_rows_are_those_of_a_literal_count_over_videos(data, tmp_path, literal, kind):
    config, checkpoint = saved_model(tmp_path, data, "rgb", kind, disagree=True)
    (tmp_path / "out").mkdir()
    report = analyze(config, checkpoint, ["test_dataloader.dataset.clip_length=8"], 9, str(tmp_path / "out"))
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.clip_length = 8
    model, names, truth, outputs = outputs_of(cfg, checkpoint, "cpu")
    assert (report["images"], report["decisions"], report["unit"]) == (12, 12, "videos")
    rows = {row["name"]: row for row in report["outputs"]}
    first = outputs[0].argmax(1)
    for name in [f"out{m}" for m in range(1, 8)] if kind else ["stock"]:
        probabilities = outputs[int(name[-1]) - 1 if kind else 0].softmax(1)
        label = probabilities.argmax(1)
        assert rows[name]["top1"] == pytest.approx(100 * (label == truth).double().mean().item(), abs=1e-4)
        assert rows[name]["mean_confidence"] == pytest.approx(probabilities.amax(1).mean().item(), abs=1e-4)
        assert rows[name]["changed"] == pytest.approx((label != first).double().mean().item())
    classifier, clips = ClipClassifier(cfg, checkpoint, "cpu"), []
    with torch.no_grad():
        for name in names:
            clips.append(model.extract_feat(classifier.clips(classifier.frames(name))[0])[-1])
    stages = [torch.cat(clips)] if not kind else literal.stages(torch.cat(clips), list(model.head.fc.filters), -1)
    assert max(map(len, clips)) > 1
    for i, stage in enumerate(stages):
        counted = report["outputs"][2 * i]["active_units"]
        assert counted == pytest.approx((stage > 0).sum(1).double().mean().item())
    if not kind:
        return
    winners = [literal.winners(ballot)[0] for ballot in literal.samples(outputs, 2)]
    voted = torch.stack([outputs[m, n] for n, m in enumerate(winners)]).argmax(1)
    changed = {Path(names[n]).name for n in range(12) if (voted[n] == truth[n]) != (first[n] == truth[n])}
    entries = [entry for found in report["gallery"].values() for entry in found]
    assert changed and {Path(entry["image"]).name for entry in entries} == changed


def test_the_gallery_shows_frames_of_the_video_in_time_order(data, tmp_path):
    config, checkpoint = saved_model(tmp_path, data, disagree=True)
    report = analyze(config, checkpoint, [], 9, str(tmp_path))
    write({"config": config, "weights": checkpoint, **report}, tmp_path)
    found = read(tmp_path / "analysis.json")
    entry = next(each for kind in found["gallery"].values() for each in kind)
    frames = ClipClassifier.frames(entry["image"])
    with Image.open(tmp_path / entry["frames"]) as picture:
        shown = np.asarray(picture)
    height, width = (side // 2 for side in shown.shape[:2])
    for place, number in enumerate((0, 1 / 3, 2 / 3, 1)):
        expected = frames[round(number * (len(frames) - 1))]
        top, left = place // 2 * height, place % 2 * width
        assert np.array_equal(shown[top : top + height, left : left + width], expected)
    assert (entry["height"], entry["width"]) == shown.shape[:2] and entry["boxes"][0]["box"][2:] == [2 * width, 144]
    cards = gallery(Analysis(tmp_path, found), 0, 16)
    assert cards["unit"] == "videos" and all(card["href"].startswith("data:image/jpeg") for card in cards["cards"])
    assert {card["title"] for card in cards["cards"]} <= {video.path(data).name for video in read_split(data, 1)[1]}
