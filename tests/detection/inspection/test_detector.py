"""The detector in two lines, its pictures, and tools/demo_detect.py as a user runs it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT

pytest.importorskip("detectron2")

import cv2
from detectron2.data import Metadata, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from small_detector import small_cfg, small_model

from ffc_dense.detection import Detector
from ffc_dense.detection.inspection.drawing import draw, labels, summary
from ffc_dense.detection.model.opinions import OPINION_FIELDS
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reporting
from ffc_dense.pictures.reading import UnreadableError

TOOL = ROOT / "tools" / "demo_detect.py"
FEW = ["MODEL.RPN.POST_NMS_TOPK_TEST", 20, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoints of an FFC and a stock model, the FFC config, and an image."""
    folder = tmp_path_factory.mktemp("detector")
    torch.save({"model": small_model().state_dict()}, folder / "ffc.pth")
    torch.save({"model": small_model("StandardROIHeads").state_dict()}, folder / "stock.pth")
    cfg = small_cfg("FFCStandardROIHeads", *FEW, "DATASETS.TEST", ("detector_test",), "INPUT.MIN_SIZE_TEST", 64)
    (folder / "config.yaml").write_text(cfg.dump())
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)).save(folder / "image.png")
    return folder


def test_a_detector_finds_what_the_model_finds_in_the_resized_image(folder):
    found = Detector(folder / "config.yaml", folder / "ffc.pth")(folder / "image.png")
    bgr = np.asarray(Image.open(folder / "image.png"))[:, :, ::-1]
    resized = T.ResizeShortestEdge([64, 64], 160).get_transform(bgr).apply_image(bgr)
    model = small_model()
    with torch.no_grad():
        inputs = {"image": torch.as_tensor(resized.transpose(2, 0, 1).astype("float32")), "height": 40, "width": 56}
        expected = model([inputs])[0]["instances"]
    assert found.image_size == (40, 56) and len(found) == len(expected) > 0
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert set(found.get_fields()) == {"pred_boxes", "scores", "pred_classes", *OPINION_FIELDS}


def test_a_detector_takes_an_array_a_threshold_and_a_stock_model(folder):
    cfg = small_cfg("StandardROIHeads", *FEW)
    detector = Detector(cfg, str(folder / "stock.pth"), confidence_threshold=0.11)
    image = np.zeros((30, 40, 3), np.uint8)
    found = detector(image)
    assert (found.scores >= 0.11).all() and found.pred_class_probs.shape == (len(found), 11)
    assert not found.has("vote_count")
    assert cfg.MODEL.ROI_HEADS.NAME == "StandardROIHeads"  # the caller's config stays
    plain = Detector(cfg, folder / "stock.pth", opinions=False)(image)
    assert set(plain.get_fields()) == {"pred_boxes", "scores", "pred_classes"}
    assert torch.equal(plain.scores[plain.scores > 0.11], found.scores)


def test_wrong_inputs_of_a_detector_are_named(folder, tmp_path):
    detector = Detector(folder / "config.yaml", folder / "ffc.pth")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(UnreadableError, match="no image that Pillow knows"):
        detector(tmp_path / "text.jpg")
    with pytest.raises(UnreadableError, match="1x4000 is too narrow"):
        detector(np.zeros((4000, 1, 3), np.uint8))
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
            detector(wrong)
    with pytest.raises(FileNotFoundError, match=r"none\.pth is not there"):
        Detector(folder / "config.yaml", "none.pth")
    with pytest.raises(RuntimeError, match=r"filters\.0\.weight is missing"):
        Detector(folder / "config.yaml", folder / "stock.pth")


@pytest.mark.parametrize("as_file", [True, False])
def test_a_config_is_checked_as_that_of_a_training(folder, tmp_path, as_file):
    def refused(heads, options, message):
        config = small_cfg(heads, *FEW, "DATASETS.TEST", ("detector_test",))
        if as_file:
            (tmp_path / "config.yaml").write_text(config.dump())
            config = tmp_path / "config.yaml"
        with pytest.raises(UserError, match=message):
            Detector(config, folder / "stock.pth", options=options)

    key = "MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS"
    refused("StandardROIHeads", [key, 2], f"{key}: has no effect, MODEL.ROI_HEADS.NAME StandardROIHeads is a stock")
    refused("FFCStandardROIHeads", [key, -1], f"{key} must be an integer >= 0 and <= 100, got -1")
    refused("FFCStandardROIHeads", [f"{key}S", 2], f"{key}S in the command line: .* mean NUM_FILTERS")
    refused("FFCStandardROIHeads", [key], "the command line: expected pairs KEY VALUE")


def test_a_wrong_config_file_is_named_with_its_key(folder, tmp_path):
    (tmp_path / "a.yaml").write_text("MODEL: {ROI_BOX_HEAD: {FFC: {NUMFILTERS: 3}}}")
    with pytest.raises(UserError, match=r"FFC\.NUMFILTERS in .*a\.yaml: .* mean NUM_FILTERS"):
        Detector(tmp_path / "a.yaml", folder / "ffc.pth")
    with pytest.raises(UserError, match=r"gone\.yaml: there is no such file"):
        Detector(tmp_path / "gone.yaml", folder / "ffc.pth")


def test_class_names_are_those_of_the_dataset(folder):
    cfg = small_cfg("FFCStandardROIHeads", "DATASETS.TEST", ("detector_names",))
    MetadataCatalog.get("detector_names").thing_classes = list("abcdefghij")
    assert Detector(cfg, folder / "ffc.pth").metadata.thing_classes == list("abcdefghij")
    cfg.DATASETS.TEST = ("coco_2017_val",)
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 10, the dataset coco_2017_val of DATASETS\.TEST has 80"):
        Detector(cfg, folder / "ffc.pth")
    cfg.DATASETS.TEST = ()
    assert Detector(cfg, folder / "ffc.pth").metadata.thing_classes == [str(label) for label in range(10)]


def test_what_is_no_image_is_named_with_what_makes_one(folder):
    detector = Detector(folder / "config.yaml", folder / "ffc.pth")
    picture = Image.open(folder / "image.png")
    with pytest.raises(TypeError, match=r"expected a file name or a .* array .*, got PIL\.\S+; of a PIL image"):
        detector(picture)
    with pytest.raises(TypeError, match=r"got torch\.Tensor"):
        detector(torch.zeros(3, 8, 8))
    array = np.asarray(picture.convert("RGB"))[:, :, ::-1]  # as the message says
    assert torch.equal(detector(array).scores, detector(folder / "image.png").scores)


def detections(boxes, size, votes=True, **more):
    count = len(boxes)
    found = Instances(size, pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)), **more)
    found.scores, found.pred_classes = torch.full((count,), 0.974), torch.arange(count) % 2
    if votes:
        found.class_votes, found.num_outputs = torch.full((count,), 5), torch.full((count,), 7)
    return found


def test_labels_show_class_score_and_votes():
    metadata = Metadata(thing_classes=["cat", "dog"])
    found = detections([[0, 0, 9, 9], [5, 5, 20, 20]], (60, 80))
    assert labels(found, metadata) == ["cat 97% 5/7", "dog 97% 5/7"]
    assert labels(detections([[0, 0, 9, 9]], (60, 80), votes=False), metadata) == ["cat 97%"]


def test_pictures_have_the_wanted_size_and_leave_the_rest_of_the_image():
    metadata = Metadata(thing_classes=["cat", "dog"])
    image = np.full((60, 80, 3), (200, 100, 50), np.uint8)
    assert draw(image, detections([], (60, 80)), metadata, summarised=False).shape == (600, 800, 3)
    found = detections([[30, 30, 50, 50]], (60, 80))
    picture = draw(image, found, metadata, 4, summarised=False)
    assert picture.shape == (240, 320, 3)
    assert picture[10, 10].tolist() == [200, 100, 50]  # BGR, as the image
    red, green, blue = (picture[160, 118:123].astype(int).mean(0)[::-1]).tolist()
    assert red > green > blue  # the box's left side, orange over blue
    masks = torch.zeros(1, 60, 80, dtype=torch.bool)
    masks[0, 30:50, 30:50] = True
    found.pred_masks = masks
    assert not np.array_equal(draw(image, found, metadata, scale=4)[160, 160], picture[160, 160])


def test_a_box_that_no_output_chose_does_not_look_agreed():
    metadata = Metadata(thing_classes=["cat", "dog"])
    image = np.full((60, 80, 3), 128, np.uint8)
    colours, gaps = [], []
    for votes in (7, 4, 3, 1, 0):
        found = detections([[30, 20, 70, 50]], (60, 80))
        found.class_votes[:] = votes
        side = draw(image, found, metadata, 8, summarised=False)[170:390, 236:245].astype(int)
        colours.append(np.ptp(side, 2).max())  # from grey
        gaps.append((np.abs(side - 128).max((1, 2)) < 20).mean())  # of the rows of the box's left side
    assert min(colours[:4]) > 100 > 10 > colours[4]
    assert max(gaps[:2]) < 0.01 and min(gaps[2:]) > 0.1  # drawn through, and interrupted


def test_the_summary_counts_classes_and_votes():
    metadata = Metadata(thing_classes=["cat", "dog"])
    found = detections([[0, 0, 9, 9]] * 3, (60, 80))
    found.class_votes[:] = torch.tensor([4, 3, 0])
    assert summary(found, metadata) == [
        "3 boxes: 2 x cat, 1 x dog",
        "class chosen: 1 by most outputs (solid), 1 by half or fewer (dashed), 1 by none (grey, dotted)",
    ]
    assert summary(detections([[0, 0, 9, 9]], (60, 80), votes=False), metadata) == ["1 box: 1 x cat"]
    assert summary(detections([], (60, 80), votes=False), metadata) == ["0 boxes"]
    image = np.full((60, 80, 3), 128, np.uint8)
    plain, told = (draw(image, found, metadata, 8, told) for told in (False, True))
    assert np.array_equal(told[: len(plain)], plain) and len(told) > len(plain) and told[len(plain) :].min() < 100


def test_labels_of_boxes_in_one_place_do_not_cover_each_other():
    metadata = Metadata(thing_classes=["cat", "dog"])
    image = np.full((300, 400, 3), 255, np.uint8)
    one = (draw(image, detections([[100, 100, 200, 200]], (300, 400)), metadata, 1) < 90).all(2).sum()
    three = (draw(image, detections([[100, 100, 200, 200]] * 3, (300, 400)), metadata, 1) < 90).all(2).sum()
    assert three > 2.5 * one  # the dark grounds of three labels


def tool(folder, *arguments):
    command = [sys.executable, "-W", "ignore", TOOL, *arguments]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)


def write_video(path, images):
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (width, height))
    for image in images:
        writer.write(image)
    writer.release()


def read_video(path):
    reader = cv2.VideoCapture(str(path))
    count, rate = (reader.get(each) for each in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    return [reader.read()[1] for _ in range(int(count))], rate


def test_the_tool_draws_every_image_and_frame_that_it_can_read(folder, tmp_path):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "clip.avi", [np.full((40, 56, 3), grey, np.uint8) for grey in (60, 120, 180)])
    (tmp_path / "in" / "image.png").write_bytes((folder / "image.png").read_bytes())
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    done = tool(folder, "--config-file", "config.yaml", "--input", tmp_path / "in", "--output", tmp_path / "out",
                "--opinions", "--confidence-threshold", "0", "--opts", "MODEL.WEIGHTS", "ffc.pth")  # fmt: skip
    assert done.returncode == 1, done.stderr[-2000:]
    assert "2 of 3 files drawn, 1 skipped" in done.stdout and "skipped" in done.stderr
    assert "broken.jpg" in done.stderr and "Traceback" not in done.stderr
    drawn = np.asarray(Image.open(tmp_path / "out" / "image.png"))
    assert drawn.shape[1] == 800 and drawn.shape[0] > 571  # with a summary below
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"image.png", "clip.avi.mp4"}
    detector = Detector(folder / "config.yaml", folder / "ffc.pth", opinions=True, confidence_threshold=0)
    given, (frames, rate) = read_video(tmp_path / "in" / "clip.avi")[0], read_video(tmp_path / "out" / "clip.avi.mp4")
    assert len(frames) == len(given) == 3 and rate == pytest.approx(5)
    for image, frame in zip(given, frames, strict=True):
        expected = draw(image, detector(image), detector.metadata).astype(float)
        assert frame.shape == (len(expected) // 2 * 2, 800, 3)  # a video has even sides
        lost = np.abs(frame[:570] - expected[:570]).mean()  # by compression
        assert lost < 0.35 * np.abs(cv2.resize(image, (800, 571))[:570] - expected[:570]).mean()


def test_the_tool_says_what_is_wrong_in_one_line(folder, tmp_path, capsys):
    from ffc_dense.detection.commands import predict as module

    arguments = ["--config-file", folder / "config.yaml", "--weights", folder / "stock.pth", "--input",
                 folder / "image.png", "--output", tmp_path / "out"]  # fmt: skip
    with pytest.raises(SystemExit) as ended, reporting("demo_detect.py"):
        module.main(module.parse_args(list(map(str, arguments))))
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and last.startswith("demo_detect.py: error: ") and "is missing" in last
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as ended, reporting("demo_detect.py"):
        module.main(module.parse_args([*map(str, arguments), "--opts", "MODEL.RESNETS.DEPTH", "19"]))
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and "error: MODEL.RESNETS.DEPTH 19 does not work" in last
    with pytest.raises(SystemExit):
        module.parse_args([*map(str, arguments), "--confidence-threshold", "50"])
    assert "expected a score from 0 to 1, got 50" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        module.parse_args([*map(str, arguments), "--scale", "0"])
    assert "--scale: expected a factor above 0 and up to 100, got 0" in capsys.readouterr().err
