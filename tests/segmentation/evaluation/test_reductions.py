"""All reductions of a segmentor in one pass; the two evaluators agree; checkpoints are read without running them."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from repository import ROOT

pytest.importorskip("mmseg")

import mmseg
from cityscapesscripts.helpers.labels import trainId2label
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import METRICS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image

import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense.method.reductions import ffc_layers, reduced
from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.openmmlab.inputs.checkpoint import load_for_evaluation, read_state_dict
from ffc_dense.segmentation.evaluation.reductions import features_once

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

CONFIGS = ROOT / "configs" / "mini_cityscapes"
FFC_PSP = CONFIGS / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
PSP = CONFIGS / "pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
ALL = ["vote", "mean", *(f"out{i}" for i in range(1, 8))]
SLIDE = dict(mode="slide", crop_size=(32, 32), stride=(24, 24))
OCR = dict(
    type="CascadeEncoderDecoder",
    num_stages=2,
    decode_head=[
        dict(type="FCNHead", in_channels=128, in_index=2, channels=16, num_convs=1, num_classes=19),
        dict(type="FFCOCRHead", in_channels=256, in_index=3, channels=16, ocr_channels=8, num_classes=19),
    ],
)
HEADS = {
    "PSP": {},
    "ASPP": dict(decode_head=dict(type="FFCASPPHead", dilations=(1, 4), pool_scales=None)),
    "Enc": dict(decode_head=dict(type="FFCEncHead", num_codes=4, in_channels=[128, 256], in_index=[2, 3],
                                 pool_scales=None)),
    "OCR": OCR,
}  # fmt: skip


def small_model(kind="PSP", path=FFC_PSP, **changes):
    """The mini config's model with another head, and weights as if trained: with initial ones the outputs agree."""
    init_default_scope("mmseg")
    cfg = Config.fromfile(path).model
    if kind == "OCR":
        cfg.decode_head = OCR["decode_head"]
        cfg.update(type=OCR["type"], num_stages=2)
    else:
        cfg.decode_head.update(HEADS[kind].get("decode_head", {}))
        if cfg.decode_head.get("pool_scales", 0) is None:
            del cfg.decode_head["pool_scales"]
    cfg.update(changes)
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    with torch.no_grad():
        for layer in ffc_layers(model):
            layer.weight.normal_()
            for norm in layer.filters:
                norm.weight.normal_(1, 0.7)
                norm.bias.normal_(0, 0.7)
    return model


def batch(n=2, size=(48, 64)):
    torch.manual_seed(1)
    metas = dict(ori_shape=size, img_shape=size, pad_shape=size)
    return torch.randn(n, 3, *size), [SegDataSample(metainfo=metas) for _ in range(n)]


def label_maps(model, inputs, samples):
    return [sample.pred_sem_seg.data.clone() for sample in model.predict(inputs, samples)]


@pytest.mark.parametrize("kind", ["PSP", "ASPP", "Enc", "OCR"])
@pytest.mark.parametrize("mode", [dict(mode="whole"), SLIDE], ids=["whole", "slide"])
@torch.no_grad()
def test_one_pass_gives_what_each_reduction_alone_gives(kind, mode):
    model = small_model(kind, test_cfg=mode)
    inputs, samples = batch()
    expected = {}
    for name in ALL:
        with reduced(model, name):
            expected[name] = label_maps(model, inputs, samples)
    before = set(vars(model)) | set(vars(model.decode_head))
    with features_once(model) as rewind:
        for name in ALL:
            rewind()
            with reduced(model, name):
                found = label_maps(model, inputs, samples)
            assert all(torch.equal(one, other) for one, other in zip(found, expected[name], strict=True)), name
    assert set(vars(model)) | set(vars(model.decode_head)) == before
    assert not torch.equal(expected["vote"][0], expected["out1"][0])


@pytest.mark.parametrize(("mode", "windows"), [(dict(mode="whole"), 1), (SLIDE, 6)], ids=["whole", "slide"])
@torch.no_grad()
def test_features_are_computed_once_for_all_reductions(mode, windows):
    model = small_model(test_cfg=mode)
    calls = []
    for module in (model.backbone, model.decode_head.bottleneck):
        module.register_forward_hook(lambda module, *_: calls.append(module))
    with features_once(model) as rewind:
        for name in ALL:
            rewind()
            with reduced(model, name):
                model.predict(*batch())
    assert len(calls) == 2 * windows


# --- the two evaluators -----------------------------------------------------------------------------------------------


def confusion_scores(predictions, labels):
    """IoU in percent of each class from a literal count of pixels."""
    scores = []
    for k in range(19):
        inside = [(p == k, (t == k), t != 255) for p, t in zip(predictions, labels, strict=True)]
        both = sum(int((p & t & valid).sum()) for p, t, valid in inside)
        either = sum(int(((p | t) & valid).sum()) for p, t, valid in inside)
        scores.append(100 * both / either if either else float("nan"))
    return scores


@pytest.mark.parametrize("classes", [range(19), (0, 2, 11), (5,)], ids=["all", "three", "constant"])
def test_both_evaluators_count_what_a_literal_count_gives(tmp_path, classes):
    rng = np.random.default_rng(0)
    values = np.array([*classes, 255])
    official = METRICS.build(dict(type="CityscapesScriptsMetric", output_dir=str(tmp_path / "png"), keep_results=True))
    unrounded = METRICS.build(dict(type="UnroundedIoUMetric", iou_metrics=["mIoU"]))
    names = [trainId2label[i].name for i in range(19)]
    maps = []
    for index in range(3):
        target, prediction = rng.choice(values, (20, 30)), rng.choice(values[:-1], (20, 30))
        ids = np.array([0 if t == 255 else trainId2label[t].id for t in target.flat], np.uint8).reshape(target.shape)
        path = tmp_path / f"town_{index:06d}_000019_gtFine_labelIds.png"
        Image.fromarray(ids).save(path)
        maps.append((prediction, target))
        sample = dict(
            pred_sem_seg=dict(data=torch.from_numpy(prediction)[None]),
            gt_sem_seg=dict(data=torch.from_numpy(target)[None]),
            img_path=f"town_{index:06d}_000019_leftImg8bit.png",
            seg_map_path=str(path).replace("labelIds", "labelTrainIds"),
        )
        for metric in (official, unrounded):
            metric.dataset_meta = dict(classes=names)
            metric.process({}, [sample])
    first, second = official.compute_metrics(official.results), unrounded.compute_metrics(unrounded.results)
    expected = confusion_scores(*zip(*maps, strict=True))
    for found in (first, second):
        assert [found[f"IoU.{name}"] for name in names] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        assert found["mIoU"] == pytest.approx(np.nanmean(expected), abs=1e-9)


def test_pixel_counts_beyond_fp32_are_exact():
    """500 images of 2 megapixels: the sum of the counts in fp32 would be off."""
    metric = METRICS.build(dict(type="UnroundedIoUMetric", iou_metrics=["mIoU"]))
    metric.dataset_meta = dict(classes=["road", "sky"])
    intersect, union = torch.tensor([1_999_999.0, 3.0]), torch.tensor([2_000_001.0, 7.0])
    scores = metric.compute_metrics([(intersect, union, union, union)] * 500)
    assert scores["IoU.road"] == pytest.approx(100 * 1_999_999 / 2_000_001, abs=1e-11)


# --- checkpoints ------------------------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, planted):
        self.planted = planted

    def __reduce__(self):
        return os.mkdir, (str(self.planted),)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_malicious_checkpoint_is_refused_and_does_not_run(tmp_path, as_zip):
    content = {"state_dict": {"weight": torch.ones(1)}, "meta": Malicious(tmp_path / "planted")}
    if as_zip:
        torch.save(content, tmp_path / "bad.pth")
    else:
        (tmp_path / "bad.pth").write_bytes(pickle.dumps(content))
    with pytest.raises(RuntimeError, match=r"bad\.pth was not read"):
        read_state_dict(tmp_path / "bad.pth")
    assert not (tmp_path / "planted").exists()


def test_getattr_in_a_checkpoint_is_not_called(tmp_path):
    """mmengine's own files name it, and it would reach any function."""

    class Getattr:
        def __reduce__(self):
            return getattr, (torch.Tensor, "__doc__")

    torch.save({"state_dict": {"weight": torch.ones(1)}, "message_hub": Getattr()}, tmp_path / "hub.pth")
    assert read_state_dict(tmp_path / "hub.pth") == {"weight": torch.ones(1)}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", None, {"meta": 1}, torch.ones(2)])
def test_a_file_without_weights_is_named(tmp_path, content):
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FileNotFoundError if content is None else RuntimeError, match=r"x\.pth"):
        read_state_dict(path)


def test_missing_superfluous_and_misshapen_classifiers_are_refused(tmp_path):
    ffc, stock = small_model(), small_model(path=PSP)
    torch.save({"state_dict": ffc.state_dict()}, tmp_path / "ffc.pth")
    torch.save({"state_dict": stock.state_dict()}, tmp_path / "stock.pth")
    with pytest.raises(RuntimeError, match=r"decode_head\.conv_seg\.filters\.0\.weight is missing"):
        load_for_evaluation(ffc, tmp_path / "stock.pth")
    with pytest.raises(RuntimeError, match=r"filters\.0\.weight has no place in the model"):
        load_for_evaluation(stock, tmp_path / "ffc.pth")
    state = ffc.state_dict()
    state["decode_head.conv_seg.weight"] = torch.ones(7, 64, 1, 1)
    torch.save(state, tmp_path / "seven.pth")
    with pytest.raises(RuntimeError, match=r"conv_seg\.weight is \(7, 64, 1, 1\) in the file, \(19, 64, 1, 1\)"):
        load_for_evaluation(ffc, tmp_path / "seven.pth")


def test_weights_saved_from_a_data_parallel_wrapper_load(tmp_path):
    model, other = small_model(), small_model()
    torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, tmp_path / "wrapped.pth")
    torch.nn.init.zeros_(other.decode_head.conv_seg.weight)
    load_for_evaluation(other, tmp_path / "wrapped.pth")
    assert torch.equal(other.decode_head.conv_seg.weight, model.decode_head.conv_seg.weight)


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval_cityscapes")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 2, 3)
    torch.save({"state_dict": small_model().state_dict()}, folder / "model.pth")
    return folder


def run(folder, script, *arguments):
    environment = dict(os.environ, OMP_NUM_THREADS="2", PYTHONWARNINGS="ignore")
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_eval_cityscapes_scores_every_reduction_as_test_py_does(folder):
    script = ROOT / "tools" / "eval_cityscapes.py"
    done = run(folder, script, FFC_PSP, "model.pth", "--reduce", "all", "--work-dir", "out")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folder / "out" / "reductions.json").read_text())["results"]
    assert list(results) == ALL
    for name, scores in results.items():
        assert scores["mIoU"] == pytest.approx(scores["cityscapesscripts"]["mIoU"], abs=1e-4), name
        assert len(list((folder / "out" / "png" / name).glob("*.png"))) == 3
    assert results["vote"]["mIoU"] != results["out1"]["mIoU"]
    (prediction, *_) = sorted((folder / "out" / "png" / "vote").glob("*.png"))
    assert prediction.name.startswith("minihaven_") and set(np.unique(Image.open(prediction))) <= {
        trainId2label[i].id for i in range(19)
    }
    test_py = Path(mmseg.__file__).parent / ".mim" / "tools" / "test.py"
    stock = run(folder, test_py, FFC_PSP, "model.pth", "--work-dir", "stock",
                "--cfg-options", "model.decode_head.test_reduce=out5")  # fmt: skip
    assert stock.returncode == 0, stock.stderr[-3000:]
    expected = json.loads(next((folder / "stock").glob("*/*.json")).read_text())
    assert expected["mIoU"] == pytest.approx(results["out5"]["mIoU"], abs=0.00501)  # rounded to two digits


@pytest.mark.slow
def test_two_processes_find_what_one_finds(folder):
    script = ROOT / "tools" / "eval_cityscapes.py"
    arguments = [FFC_PSP, "model.pth", "--reduce", "vote,out1"]
    one = run(folder, script, *arguments, "--work-dir", "one")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    two = run(folder, *launch, *arguments, "--work-dir", "two", "--launcher", "pytorch", "--device", "cpu")
    assert one.returncode == two.returncode == 0, two.stderr[-3000:]
    first, second = (json.loads((folder / name / "reductions.json").read_text())["results"] for name in ("one", "two"))
    assert first == second and first["vote"]["mIoU"] > 0


@pytest.mark.slow
def test_eval_cityscapes_refuses_before_it_runs(folder):
    script = ROOT / "tools" / "eval_cityscapes.py"
    torch.save({"state_dict": small_model(path=PSP).state_dict()}, folder / "stock.pth")
    for arguments, message in (
        ([FFC_PSP, "stock.pth"], "decode_head.conv_seg.filters.0.weight is missing"),
        ([FFC_PSP, "model.pth", "--reduce", "median"], "unknown reduction 'median'; choose from all, vote"),
    ):
        done = run(folder, script, *arguments, "--work-dir", "refused")
        assert done.returncode == 2 and message in done.stderr.splitlines()[-1], done.stderr[-2000:]
        assert not (folder / "refused" / "reductions.json").exists()


def test_the_test_split_gives_pngs_for_the_server_without_labels(folder):
    images = folder / "data" / "mini_cityscapes" / "leftImg8bit"
    (images / "test").mkdir()
    (images / "test" / "town").symlink_to(images / "val" / "minihaven")
    done = run(folder, ROOT / "tools" / "eval_cityscapes.py", FFC_PSP, "model.pth", "--split", "test",
               "--reduce", "vote,mean", "--work-dir", "server")  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("vote", "mean"):
        assert len(list((folder / "server" / "png" / name).glob("*.png"))) == 3
    assert not (folder / "server" / "reductions.json").exists()
