"""A config with classes in the place of names, mmengine's dump of it, and one with scopes run in every tool."""

import json
import uuid

import pytest
import torch
from tools_in_process import run_tool

pytest.importorskip("mmseg")

import small_segmentor
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.segmentation import Segmentor

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

PURE = """
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import DefaultSampler
from mmengine.runner import TestLoop
from mmseg.datasets import CityscapesDataset, LoadAnnotations, PackSegInputs
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder, ResNetV1c, SegDataPreProcessor

from {module} import {head}

default_scope = "mmseg"
norm = dict(type="BN", requires_grad=True)
model = dict(
    type=EncoderDecoder,
    data_preprocessor=dict(type=SegDataPreProcessor, mean=[100.0] * 3, std=[50.0] * 3, bgr_to_rgb=True, pad_val=0,
                           seg_pad_val=255, size_divisor=32),
    backbone=dict(type=ResNetV1c, depth=18, stem_channels=8, base_channels=4, norm_cfg=norm, dilations=(1, 1, 2, 4),
                  strides=(1, 2, 1, 1)),
    decode_head=dict(type={head}, in_channels=32, in_index=3, channels=8, pool_scales=(1, 2), num_classes=19,
                     norm_cfg=norm, align_corners=False),
    test_cfg=dict(mode="whole"))
pipeline = [dict(type=LoadImageFromFile), dict(type=LoadAnnotations), dict(type=PackSegInputs)]
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=CityscapesDataset, data_root={data!r}, pipeline=pipeline,
                 data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val")))
test_evaluator = dict(type=IoUMetric, ignore_index=0)
test_cfg = dict(type=TestLoop)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pure")
    make_mini_cityscapes(folder / "data", 1, 2)
    for name, module, head in (("ffc", "ffc_dense.segmentation", "FFCPSPHead"), ("psp", "mmseg.models", "PSPHead")):
        path = folder / f"{name}.py"
        path.write_text(PURE.format(module=module, head=head, data=str(folder / "data")))
        Config.fromfile(path).dump(folder / f"{name}_dumped.py")
        init_default_scope("mmseg")
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(path).model)
        if name == "ffc":
            small_segmentor.disagreeing(model)
        torch.save({"state_dict": model.state_dict()}, folder / f"{name}.pth")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


def scores(folder, config, *arguments):
    out = folder / uuid.uuid4().hex
    code, _, said = run_tool("eval_cityscapes", folder / config, *arguments, "--output", out, "--no-png")
    assert code == 0, said[-2000:]
    (path,) = out.glob("*.json")
    return json.loads(path.read_text())["results"]


def test_classes_and_their_dumped_paths_score_alike_alone_and_in_an_ensemble(folder):
    checkpoint = folder / "ffc.pth"
    found = [scores(folder, name, checkpoint, "--maps") for name in ("ffc.py", "ffc_dumped.py")]
    assert found[0] == found[1] and list(found[0]) == ["vote"]
    together = scores(folder, "ffc_dumped.py", checkpoint, "--ensemble", checkpoint)
    assert together["vote"]["mIoU"] == pytest.approx(found[0]["vote"]["mIoU"])
    alone, stock = (scores(folder, "psp_dumped.py", folder / "psp.pth", *more) for more in ([], ["--ensemble",
                    folder / "psp.pth"]))  # fmt: skip
    assert [each["mIoU"] for each in alone.values()] == pytest.approx([each["mIoU"] for each in stock.values()])


@pytest.mark.parametrize("name", ["ffc.py", "ffc_dumped.py"])
def test_a_segmentor_reads_arrays_and_gives_opinions(folder, name):
    (image,) = folder.glob("data/leftImg8bit/train/*/*.png")
    result = Segmentor(folder / name, folder / "ffc.pth", "cpu", opinions=True)(image)
    assert {"confidence", "agreement", "pred_sem_seg"} <= set(result.keys())


@pytest.mark.parametrize("tool", ["gradcam", "analyze_outputs", "demo_segment"])
def test_tools_take_a_dumped_config(folder, tool):
    arguments = ["--input", *folder.glob("data/leftImg8bit/train/*/*.png")] * (tool != "analyze_outputs")
    code, _, said = run_tool(tool, folder / "ffc_dumped.py", folder / "ffc.pth", *arguments, "--output", folder / tool)
    assert code == 0 and any((folder / tool).iterdir()), said[-2000:]


def test_a_wrong_number_of_classes_is_refused_in_a_dumped_config(folder):
    path = folder / "seven.py"
    text = (folder / "ffc_dumped.py").read_text()
    assert "num_classes=19" in text
    path.write_text(text.replace("num_classes=19", "num_classes=7"))
    code, _, said = run_tool("eval_cityscapes", path, folder / "ffc.pth", "--output", folder / "no")
    assert code == 2 and "has 19 classes" in said, said


def test_a_name_of_another_scope_says_which(folder):
    path = folder / "no_scope.py"
    path.write_text((folder / "ffc_dumped.py").read_text().replace("default_scope = 'mmseg'", ""))
    code, _, said = run_tool("eval_cityscapes", path, folder / "ffc.pth", "--output", folder / "no")
    assert code == 2 and "set default_scope='mmseg'" in said, said  # mmseg's test.py fails there too
