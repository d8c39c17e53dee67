"""tools/export_model.py from its arguments to its file and exit code; a torchvision model with attach() as ONNX."""

import json

import onnx
import onnxruntime
import pytest
import torch
from small_detector import small_cfg, small_model
from small_segmentor import SLIDE, build, config
from tools_in_process import run_tool, tool
from torchvision.models import resnet18

from ffc_dense import attach
from ffc_dense.export import recording

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporters' advice


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """(config, checkpoint, overrides) whose random weights find boxes in noise."""
    folder = tmp_path_factory.mktemp("detector")
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.RPN.POST_NMS_TOPK_TEST", 20]
    (folder / "config.yaml").write_text(small_cfg("FFCStandardROIHeads", *opts).dump())
    torch.save({"model": small_model().state_dict()}, folder / "model.pth")
    return folder / "config.yaml", folder / "model.pth"


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmentor")
    model = json.loads(json.dumps(config()))
    (folder / "config.py").write_text(f"custom_imports = dict(imports=['ffc_dense.segmentation'])\nmodel = {model}\n")
    torch.save({"state_dict": build().state_dict()}, folder / "model.pth")
    return folder / "config.py", folder / "model.pth"


def run(model, output, *arguments):
    return run_tool("export_model", *model, "--output", output, *arguments)


def last_line(stderr):
    return stderr.strip().splitlines()[-1]


def test_a_detector_becomes_an_onnx_file_of_any_height_and_width(detector, tmp_path):
    code, out, err = run(detector, tmp_path / "detector.onnx", "--format", "onnx", "--reduce", "mean")
    assert code == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["detector.onnx"]
    onnx.checker.check_model(str(tmp_path / "detector.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "detector.onnx"), providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", [3, "height", "width"])]
    assert [o.name for o in session.get_outputs()] == ["boxes", "labels", "scores"]
    assert "reduction mean" in out and "max difference" in out
    said = session.get_modelmeta().custom_metadata_map
    assert said["reduction"] == "mean" and json.loads(said["channels"]) == "BGR"
    assert json.loads(said["classes"]) == [str(label) for label in range(len(json.loads(said["classes"])))]


def test_a_segmentor_becomes_a_file_that_answers_as_the_segmentor(segmentor, tmp_path):
    output = tmp_path / "segmentor.ts"
    code, out, err = run(segmentor, output, "--format", "torchscript", "--reduce", "vote")
    assert code == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["segmentor.ts"]
    image = torch.randn(3, 3, 40, 72)
    meta = dict(ori_shape=(40, 72), img_shape=(40, 72), pad_shape=(40, 72))
    model = build(test_reduce="vote")
    with torch.no_grad():
        expected, (scores, labels) = model.encode_decode(image, [meta]), torch.jit.load(output)(image)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
    assert torch.equal(labels, expected.argmax(1, keepdim=True))
    assert "reduction vote" in out and "same label 100" in out
    extra = {recording.METADATA: ""}
    torch.jit.load(output, _extra_files=extra)
    said = json.loads(extra[recording.METADATA])
    assert said["reduction"] == "vote" and json.loads(said["classes"]) == []  # a checkpoint that says none


def test_a_file_that_answers_otherwise_is_not_left(segmentor, tmp_path, monkeypatch):
    tool("export_model")  # its neighbours can be imported from now on
    import ffc_dense.export.recording as recording

    load = recording.load

    def wrong(path, form):
        answer = load(path, form)
        return lambda image: [tensor + 1 for tensor in answer(image)]

    monkeypatch.setattr(recording, "load", wrong)
    (tmp_path / "model.ts").write_text("an older file")
    code, out, err = run(segmentor, tmp_path / "model.ts", "--format", "torchscript")
    assert code == 2 and out == ""
    assert "its predictions differ from the model's" in last_line(err)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ts"]
    assert (tmp_path / "model.ts").read_text() == "an older file"


def test_a_model_that_one_graph_cannot_hold_is_refused_in_one_line(segmentor, tmp_path):
    options = [f"model.test_cfg.{key}={value}".replace(" ", "") for key, value in SLIDE.items()]
    code, out, err = run(segmentor, tmp_path / "model.onnx", "--cfg-options", *options)
    assert code == 2 and out == "" and "Traceback" not in err
    assert last_line(err).startswith("export_model.py: error: ") and "model.test_cfg.mode=whole" in last_line(err)
    assert list(tmp_path.iterdir()) == []


def test_a_detector_with_masks_is_refused_in_one_line(tmp_path):
    (tmp_path / "config.yaml").write_text(small_cfg("FFCStandardROIHeads", mask=True).dump())
    torch.save({"model": small_model(mask=True).state_dict()}, tmp_path / "model.pth")
    code, _, err = run((tmp_path / "config.yaml", tmp_path / "model.pth"), tmp_path / "model.onnx")
    assert code == 2 and "Traceback" not in err
    assert "MODEL.MASK_ON False" in last_line(err)
    assert not (tmp_path / "model.onnx").exists()


def test_the_tool_offers_the_formats_and_opsets_of_the_module_that_writes(segmentor, tmp_path):
    export_model = tool("export_model")
    default = export_model.parse_args([*map(str, segmentor), "--output", "x"])
    assert default.opset == recording.OPSET == 20
    for form in recording.FORMATS:
        assert export_model.parse_args([*map(str, segmentor), "--output", "x", "--format", form]).format == form
    for opset in (17, 21):
        code, _, err = run(segmentor, tmp_path / "model.onnx", "--opset", opset)
        assert code == 2 and last_line(err) == f"export_model.py: error: --opset: expected 18 to 20, got {opset}"
    code, _, err = run(segmentor, tmp_path / "model.onnx", "--format", "coreml")
    assert code == 2 and "invalid choice: 'coreml'" in last_line(err)
    assert all(form in last_line(err) for form in recording.FORMATS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("debug", [False, True])
def test_an_exporters_own_error_names_the_exporter(segmentor, tmp_path, monkeypatch, debug):
    def failing(*arguments, **options):
        raise RuntimeError("no translation\nfor aten::anything")

    monkeypatch.setattr(torch.onnx, "export", failing)
    code, out, err = run(segmentor, tmp_path / "model.onnx", "--format", "onnx", *["--debug"] * debug)
    assert code == 2 and out == ""
    expected = "torch.onnx.export failed on this model: RuntimeError: no translation for aten::anything"
    assert expected in last_line(err)
    assert ("Traceback (most recent call last)" in err and "in failing" in err) == debug
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_attached_torchvision_model_votes_the_same_in_onnx_for_any_batch(tmp_path, scramble, dynamo):
    model = scramble(attach(resnet18(num_classes=10), "fc", test_reduce="vote")).eval()
    torch.nn.init.normal_(model.fc.weight, std=0.3)
    for norm in model.fc.filters:
        torch.nn.init.normal_(norm.bias)
    path = str(tmp_path / "resnet18.onnx")
    batch = dict(dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), external_data=False, verbose=False)
    batch = batch if dynamo else dict(dynamic_axes={"x": {0: "batch"}})
    torch.onnx.export(model, (torch.randn(2, 3, 32, 32),), path, dynamo=dynamo, input_names=["x"], **batch)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 3, 40):
        x = torch.randn(n, 3, 32, 32)
        with torch.no_grad():
            expected = model(x)
        (found,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-5)
    model.fc.test_reduce = "mean"
    with torch.no_grad():
        assert (model(x) - torch.from_numpy(found)).abs().max() > 1e-2  # the file votes, it does not average
