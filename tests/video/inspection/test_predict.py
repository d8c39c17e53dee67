"""Videos are labelled one by one as the test set is."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from video_models import saved_model

pytest.importorskip("mmpretrain")
pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from mmengine.config import Config
from skimage.registration import optical_flow_tvl1

from ffc_dense.classification import Classifier
from ffc_dense.classification.commands import evaluate, export, predict
from ffc_dense.classification.commands.analyze import analyze
from ffc_dense.cli import extract_flow
from ffc_dense.data import flow
from ffc_dense.data.hmdb51_files import read_split
from ffc_dense.errors import UserError
from ffc_dense.minidata.hmdb51 import make_mini_hmdb51
from ffc_dense.video.commands import predict as videos
from ffc_dense.video.commands.evaluate_streams import outputs_of
from ffc_dense.video.inputs.clips import decode, read_frames
from ffc_dense.video.inspection import clip_classifier
from ffc_dense.video.inspection.clip_classifier import ClipClassifier


@pytest.fixture(scope="module", autouse=True)
def coarse_flow():
    """TV-L1 of few iterations: what is tested here is where the flow goes, not how good it is."""

    def flow_between(before, after):
        y, x = optical_flow_tvl1(before / np.float32(255), after / np.float32(255), num_warp=1, num_iter=2)
        return np.stack([x, y], -1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "tvl1", flow_between)
        patch.setattr(clip_classifier, "tvl1", flow_between)
        yield


@pytest.fixture(scope="module", params=["rgb", "flow"])
def stream(request):
    return request.param


@pytest.fixture(scope="module")
def data(stream, tmp_path_factory):
    """With frames on disk for flow alone: those of RGB are decoded from the videos."""
    root = make_mini_hmdb51(tmp_path_factory.mktemp("data") / "mini_hmdb51", 6, 6)
    if stream == "flow":
        extract_flow.main([str(root), "--short-side", "0", "--workers", "1"])
    return root


@pytest.fixture
def model(stream, data, tmp_path):
    return saved_model(tmp_path, data, stream)


def test_a_file_is_classified_as_in_the_test_set(stream, model, data):
    cfg = Config.fromfile(model[0])
    _, names, _, outputs = outputs_of(cfg, model[1], "cpu")
    classifier = ClipClassifier(cfg, model[1], "cpu")
    for place in (0, 3):
        sample, found = classifier(names[place])
        wanted = outputs[:, place].softmax(1)
        if stream == "rgb":
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
        assert sample.pred_score.shape == (6,) and found.shape == wanted.shape
    assert classifier.name_of(int(sample.pred_label)) in read_split(data, 1)[0]


@pytest.mark.parametrize("stream", ["flow"], indirect=True)
def test_flow_on_the_way_is_that_on_disk_but_for_jpeg(model, data):
    video = read_split(data, 1)[1][0]
    on_disk = read_frames(video.path(data), video.frames(data), "flow", np.arange(8))
    found = ClipClassifier(Config.fromfile(model[0]), model[1], "cpu").channels(decode(video.path(data)))[:8]
    assert np.abs(found.astype(int) - on_disk).mean() < 1.5 and np.ptp(found) > 10


def test_the_command_writes_labelled_videos_and_rows(model, data, tmp_path, capsys):
    _, videos = read_split(data, 1)
    chosen = [str(video.path(data)) for video in videos[:2]]
    (tmp_path / "broken.avi").write_bytes(b"no video")
    arguments = [*model, "--input", *chosen, str(tmp_path / "broken.avi"), "--output", str(tmp_path / "out")]
    assert predict.main(predict.parse_args([*arguments, "--device", "cpu"])) == 1
    said = capsys.readouterr()
    assert "2 of 3 videos labelled, 1 skipped" in said.out and "no frame can be decoded" in said.err
    rows = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [row["image"] for row in rows] == chosen and {"label", "class", "probability", "out7"} <= rows[0].keys()
    with open(tmp_path / "out/predictions.csv") as file:
        assert len(list(csv.DictReader(file))) == 2
    capture = cv2.VideoCapture(str(tmp_path / "out" / f"{videos[0].stem}.avi.mp4"))
    good, frame = capture.read()
    assert good and frame.shape[1] == 320 and np.ptp(frame[-20:]) > 100  # the text


@pytest.mark.parametrize("stream", ["rgb"], indirect=True)
def test_the_label_of_another_model_stands_below_that_of_this_one(model, data, tmp_path, monkeypatch):
    (tmp_path / "stock").mkdir()
    stock = saved_model(tmp_path / "stock", data, kind="")
    video, told = read_split(data, 1)[1][0].path(data), []
    monkeypatch.setattr(videos, "labelled", lambda frame, lines: told.append(lines) or frame)
    arguments = [*model, "--input", str(video), "--output", str(tmp_path / "out"), "--device", "cpu", "--stock", *stock]
    assert predict.main(predict.parse_args(arguments)) == 0
    labels = []
    for (config, checkpoint), line in zip((model, stock), told[0], strict=False):
        classifier = ClipClassifier(Config.fromfile(config), checkpoint, "cpu")
        sample, outputs = classifier(video)
        labels.append(int(sample.pred_label))
        assert classifier.lines(sample, outputs)[0] in line
    assert told[0][0].startswith("FFC: ") and told[0][1].startswith("stock: ")
    assert told[0][1].endswith("(agree)" if labels[0] == labels[1] else "(disagree)") and "of 7" in told[0][2]


def test_an_image_is_refused(model, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    arguments = [*model, "--input", str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"a\.png is an image, and .*config\.py classifies videos"):
        predict.main(predict.parse_args(arguments))


@pytest.mark.parametrize("stream", ["rgb"], indirect=True)
def test_commands_for_images_refuse_clips_in_one_sentence(model, tmp_path):
    (config, weights), said = model, r"test_dataloader\.dataset: it holds clips, .* takes images"
    with pytest.raises(UserError, match=said):
        Classifier(config, weights, "cpu")
    with pytest.raises(UserError, match=said):
        export.load(config, weights, [], None, [])


@pytest.mark.parametrize("stream", ["rgb"], indirect=True)
def test_an_analysis_counts_videos_as_the_evaluation_scores_them(model, tmp_path, monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    report = analyze(*model, [], 2, str(tmp_path / "analysis"))
    arguments = [*model, "--reduce", "vote,out1", "--output", str(tmp_path / "scores"), "--device", "cpu"]
    evaluate.main(evaluate.parse_args(arguments))
    scores = json.loads((tmp_path / "scores/reductions.json").read_text())["results"]
    rows = {row["name"]: row for row in report["outputs"]}
    for name in ("vote", "out1"):
        assert rows[name]["top1"] == pytest.approx(scores[name]["top1"])
    assert report["decisions"] == report["images"] == len(read_split(data_root(model[0]), 1)[1]) // 2


def data_root(config):
    return Config.fromfile(config).test_dataloader.dataset.data_root
