"""A whole detector as a TorchScript and an ONNX file, the box head alone as ONNX, and detectron2's Caffe2 path."""

import importlib
import sys
from unittest import mock

import numpy as np
import onnxruntime
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from PIL import Image
from repository import ROOT
from small_detector import small_cfg, small_model

from ffc_dense.detection import FFCFastRCNNOutputLayers
from ffc_dense.detection.inspection.export import INPUTS, OUTPUTS, ExportableDetector, exporting
from ffc_dense.errors import UserError
from ffc_dense.export.checking import compare_detections
from ffc_dense.export.recording import Exportable, load, write

TOOLS = ROOT / "tools"
SIZES = [(64, 96), (128, 64), (101, 150), (33, 47)]


def exportable(model, example=(192, 256)):
    dynamic = {"image": {1: "height", 2: "width"}, **{name: {0: "detections"} for name in OUTPUTS}}
    return Exportable(
        ExportableDetector(model), lambda image: stock(model, image), image(example), [], INPUTS, OUTPUTS, dynamic,
        lambda form: exporting(form == "torch_export"), traced_onnx=True,
    )  # fmt: skip


def image(size):
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(sum(size))) * 255


@torch.no_grad()
def stock(model, image):
    (found,) = model.inference([{"image": image}], do_postprocess=False)
    return [found.pred_boxes.tensor, found.pred_classes, found.scores]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{(reduction, format): (detector, the file as a function)}."""
    folder = tmp_path_factory.mktemp("export")
    found = {}
    for name in ("vote", "mean"):
        model = small_model()
        model.roi_heads.box_predictor.test_reduce = name
        for form in ("onnx", "torchscript"):
            path = folder / f"{name}.{form}"
            write(exportable(model), path, form)
            found[name, form] = model, load(path, form)
    return found


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
@pytest.mark.parametrize("reduction", ["vote", "mean"])
@pytest.mark.parametrize("size", SIZES)
def test_a_written_detector_equals_the_detector_for_any_image_size(files, reduction, form, size):
    model, run = files[reduction, form]
    expected, found = stock(model, image(size)), run(image(size))
    assert len(expected[1]) > 0
    agreement = compare_detections(expected, found, size)
    assert agreement.unlike == 0 and agreement.same_label == len(expected[1])
    assert agreement.difference <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["vote", "mean"])
def test_a_torch_export_detector_equals_the_detector_for_any_image_size(reduction, tmp_path):
    model = small_model()
    model.roi_heads.box_predictor.test_reduce = reduction
    write(exportable(model), tmp_path / "model.pt2", "torch_export")
    run = load(tmp_path / "model.pt2", "torch_export")
    for size in [(96, 128), (160, 80), (101, 150)]:  # over 64 pixels, see docs/how-to/export.md
        expected, found = stock(model, image(size)), run(image(size))
        assert len(expected[1]) > 0
        agreement = compare_detections(expected, found, size)
        assert agreement.unlike == 0 and agreement.difference <= 1e-4


def test_vote_and_mean_are_written_as_different_detectors(files):
    found = [files[name, "onnx"][1](image((64, 96))) for name in ("vote", "mean")]
    assert compare_detections(*found, (64, 96)).unlike > 0


@pytest.mark.parametrize("form", ["onnx", pytest.param("torchscript", marks=pytest.mark.slow)])
def test_an_image_without_detections_gives_none(form, tmp_path):
    model = small_model("FFCStandardROIHeads", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.9999)
    write(exportable(model), tmp_path / "none", form)
    for size in SIZES:
        boxes, labels, scores = load(tmp_path / "none", form)(image(size))
        assert boxes.shape == (0, 4) and labels.shape == scores.shape == (0,)


@pytest.mark.parametrize(
    "reduction", ["vote", pytest.param("mean", marks=pytest.mark.slow), pytest.param("out5", marks=pytest.mark.slow)]
)
def test_the_box_head_takes_any_number_of_boxes_in_onnx(reduction, tmp_path):
    predictor = FFCFastRCNNOutputLayers(
        ShapeSpec(channels=16), box2box_transform=Box2BoxTransform((10, 10, 5, 5)), num_classes=4, test_reduce=reduction
    ).eval()
    torch.nn.init.normal_(predictor.cls_score.weight)
    for norm in predictor.cls_score.filters:
        torch.nn.init.normal_(norm.bias)
    torch.onnx.export(
        predictor, (torch.randn(5, 16),), str(tmp_path / "head.onnx"), dynamo=True, input_names=["x"], verbose=False,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), external_data=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(tmp_path / "head.onnx"), providers=["CPUExecutionProvider"])
    for boxes in (0, 1, 3, 200):
        x = torch.randn(boxes, 16)
        for found, expected in zip(session.run(None, {"x": x.numpy()}), predictor(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(found), expected.detach(), atol=1e-4, rtol=0)


def test_a_model_with_masks_is_refused():
    with pytest.raises(ValueError, match=r"MODEL\.MASK_ON False"):
        ExportableDetector(small_model(mask=True))


@pytest.fixture
def caffe2_patch(monkeypatch):
    """detectron2's own module; the caffe2 that it imports is planted, this torch has none."""
    for name in ("caffe2", "caffe2.proto", "caffe2.proto.caffe2_pb2", "caffe2.python", "caffe2.python.core",
                 "caffe2.python.net_drawer", "caffe2.python.workspace", "caffe2.python.utils"):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, mock.MagicMock())
    with mock.patch.dict(sys.modules):
        for name in ("shared", "c10", "caffe2_patch"):
            sys.modules.pop(f"detectron2.export.{name}", None)
        from detectron2.export import caffe2_patch

        yield caffe2_patch


def test_caffe2_export_of_an_ffc_detector_raises(caffe2_patch):
    model = small_model()
    patcher = caffe2_patch.ROIHeadsPatcher(model.roi_heads, False)
    inputs = [{"image": image((64, 64))}]
    with pytest.raises(TypeError, match="Caffe2 export"), patcher.mock_roi_heads(tensor_mode=False):
        model.inference(inputs)
    patcher.patch_roi_heads()
    with pytest.raises(TypeError, match=r"tools/export_model\.py"):
        model.inference(inputs)


def test_torch_jit_script_of_a_detector_names_the_classifier():
    with pytest.raises(TypeError, match=r"FFCLinear.*torch\.jit\.trace"):
        torch.jit.script(small_model())


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_an_image_to_check_on_is_what_the_detector_gets(channels, tmp_path, monkeypatch):
    read = importlib.import_module("ffc_dense.detection.commands.export").read
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    pixels = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    cfg = small_cfg("FFCStandardROIHeads", "INPUT.FORMAT", channels, "INPUT.MIN_SIZE_TEST", 40)
    turned = np.rot90(pixels, -1)
    expected = turned if channels == "RGB" else turned[:, :, ::-1]
    assert torch.equal(read(str(tmp_path / "turned.png"), cfg), torch.tensor(expected.transpose(2, 0, 1).astype("f4")))
    cfg.INPUT.FORMAT = "L"
    with pytest.raises(UserError, match=r"INPUT\.FORMAT 'L': expected BGR or RGB"):
        read(str(tmp_path / "turned.png"), cfg)


def test_an_image_that_cannot_be_read_is_named_with_its_reason(tmp_path, monkeypatch):
    read, cfg = importlib.import_module("ffc_dense.detection.commands.export").read, small_cfg("FFCStandardROIHeads")
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (1, 3000)).save(tmp_path / "narrow.png")
    for name, reason in {"deep": "more than 8 bits", "text": "no image that Pillow", "narrow": "1x3000 is too narrow",
                         "gone": "No such file"}.items():  # fmt: skip
        with pytest.raises(UserError, match=rf"--images: .*{name}\.png cannot be read: .*{reason}"):
            read(str(tmp_path / f"{name}.png"), cfg)
