"""A trained segmentor on one's own images: the API, the demo tool, maps as files, ensembles of the evaluation tool."""

import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from repository import ROOT

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmseg.apis import inference_model, init_model
from mmseg.registry import DATASETS, METRICS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from small_segmentor import disagreeing

from ffc_dense.errors import UserError
from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.pictures.reading import UnreadableError
from ffc_dense.segmentation import Segmentor
from ffc_dense.segmentation.inspection.map_files import maps_of
from ffc_dense.segmentation.inspection.map_pictures import beside_maps, coloured
from ffc_dense.segmentation.inspection.segmentor import _classes

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

CONFIGS = ROOT / "configs" / "mini_cityscapes"
FFC = CONFIGS / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
STOCK = CONFIGS / "pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two FFC checkpoints and a stock one, images, and what no program can read."""
    folder = tmp_path_factory.mktemp("demo_segment")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 1, 2)
    for name, config, seed in (("a", FFC, 0), ("b", FFC, 1), ("stock", STOCK, 0)):
        torch.manual_seed(seed)
        model = disagreeing(init_model(str(config), device="cpu"), seed)
        torch.save({"meta": {}, "state_dict": model.state_dict()}, folder / f"{name}.pth")
    images = folder / "images"
    (images / "more").mkdir(parents=True)
    first, second = sorted((folder / "data").rglob("val/*/*_leftImg8bit.png"))
    cv2.imwrite(str(images / "one.png"), cv2.imread(str(first)))
    cv2.imwrite(str(images / "more" / "two.jpg"), cv2.imread(str(second))[:, :90])
    (images / "torn.png").write_bytes(first.read_bytes()[:900])
    return folder


@pytest.fixture(scope="module")
def segmentor(folder):
    return Segmentor(FFC, folder / "a.pth", "cpu", opinions=True)


def run(folder, tool, *arguments):
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    command = [sys.executable, ROOT / "tools" / tool, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


# --- the API ----------------------------------------------------------------------------------------------------------


def test_a_file_and_its_array_give_what_mmseg_gives(folder, segmentor):
    model = init_model(str(FFC), str(folder / "a.pth"), device="cpu")
    path = folder / "images" / "one.png"
    expected = inference_model(model, str(path)).pred_sem_seg.data
    assert len(expected.unique()) > 2
    for image in (path, str(path), cv2.imread(str(path)), path):  # an array does not spoil the pipeline for files
        assert torch.equal(segmentor(image).pred_sem_seg.data, expected)


def test_classes_and_colours_are_those_of_the_dataset_wherever_the_config_wraps_it(folder):
    cfg = Config.fromfile(FFC)
    plain = Segmentor(cfg, folder / "a.pth", "cpu")
    assert plain.classes[:2] == ["road", "sidewalk"] and plain.palette[0] == [128, 64, 128]
    dataset = {**cfg.test_dataloader.dataset, "metainfo": dict(classes=["x"] * 19, palette=[[1, 2, 3]] * 19)}
    cfg.test_dataloader.dataset = dict(type="RepeatDataset", times=1, dataset=dataset)
    wrapped = Segmentor(cfg, folder / "a.pth", "cpu")
    assert wrapped.classes == ["x"] * 19 and wrapped.palette == [[1, 2, 3]] * 19
    cfg.test_dataloader.dataset = dict(type="RepeatDataset", times=1)
    with pytest.raises(ValueError, match=r"test_dataloader\.dataset: expected a dataset with type and pipeline"):
        Segmentor(cfg, folder / "a.pth", "cpu")


def test_what_does_not_fit_is_refused(folder, segmentor):
    with pytest.raises(RuntimeError, match=r"filters\.0\.weight has no place in the model"):
        Segmentor(STOCK, folder / "a.pth", "cpu")
    with pytest.raises(ValueError, match="unknown reduction 'median'"):
        Segmentor(FFC, folder / "a.pth", "cpu", reduce="median")
    with pytest.raises(UnreadableError):
        segmentor(folder / "images" / "torn.png")
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8, got \(4, 5\)"):
        segmentor(np.zeros((4, 5), np.uint8))


def test_a_pil_image_and_a_config_of_another_framework_are_named(folder, segmentor):
    with pytest.raises(TypeError, match=r"got PIL\..*; of a PIL image np\.asarray\(image\.convert"):
        segmentor(Image.new("RGB", (8, 8)))
    other = ROOT / "configs/mini_imagenet/resnet18_1xb32-504_mini-imagenet-64x64.py"
    for config in (other, Config.fromfile(other)):
        with pytest.raises(UserError, match=r"is one of MMPretrain .*expected one of MMSegmentation"):
            Segmentor(config, folder / "a.pth", "cpu")


@pytest.mark.parametrize("wrapper", [None, "RepeatDataset", "ConcatDataset"])
@pytest.mark.parametrize("form", ["file", "config"])
def test_a_head_of_another_number_of_classes_than_the_dataset_is_refused(folder, tmp_path, form, wrapper):
    cfg = Config.fromfile(FFC)
    cfg.pop("train_dataloader"), cfg.pop("val_dataloader")
    cfg.model.decode_head.num_classes = 5
    dataset, name = cfg.test_dataloader.dataset, "test_dataloader.dataset"
    if wrapper == "RepeatDataset":
        cfg.test_dataloader.dataset, name = dict(type=wrapper, times=1, dataset=dataset), f"{name}.dataset"
    elif wrapper == "ConcatDataset":
        cfg.test_dataloader.dataset, name = dict(type=wrapper, datasets=[dataset]), f"{name}.datasets.0"
    if form == "file":
        cfg.dump(tmp_path / "config.py")
    told = rf"^model\.decode_head\.num_classes: 5, but {re.escape(name)}, a CityscapesDataset, has 19 classes"
    with pytest.raises(UserError, match=told):
        Segmentor(tmp_path / "config.py" if form == "file" else cfg, folder / "a.pth", "cpu")


def test_the_heads_of_an_ensemble_are_checked_too(folder):
    cfg = Config.fromfile(FFC)
    cfg.model.decode_head.num_classes = 5
    cfg.model = dict(type="SegmentorEnsemble", member=cfg.model, size=2)
    with pytest.raises(UserError, match=r"^model\.member\.decode_head\.num_classes: 5, but test_dataloader"):
        Segmentor(cfg, folder / "a.pth", "cpu")


def test_a_wrong_config_file_is_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"there is no config file .*absent\.py"):
        Segmentor(tmp_path / "absent.py", folder / "a.pth", "cpu")
    (tmp_path / "torn.py").write_text("model = dict(")
    with pytest.raises(UserError, match=r"torn\.py"):
        Segmentor(str(tmp_path / "torn.py"), folder / "a.pth", "cpu")


def test_names_and_colours_are_those_that_mmsegs_dataset_has(folder):
    plain = Config.fromfile(FFC).test_dataloader.dataset
    (folder / "names.txt").write_text("car\nroad\nsky\n")
    chosen = ["car", "road", "sky"]
    for metainfo in (dict(classes=chosen), dict(classes=tuple(chosen)), dict(classes=str(folder / "names.txt")),
                     dict(classes=chosen, palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]])):  # fmt: skip
        dataset = DATASETS.build({**plain, "metainfo": metainfo, "lazy_init": True})
        classes, palette = _classes({**plain, "metainfo": metainfo})
        assert classes == list(dataset.metainfo["classes"]) == chosen
        by_name = dict(zip(DATASETS.get("CityscapesDataset").METAINFO["classes"],
                           DATASETS.get("CityscapesDataset").METAINFO["palette"], strict=True))  # fmt: skip
        assert palette == metainfo.get("palette", [by_name[name] for name in chosen])
    unnamed = dict(type="BaseSegDataset", metainfo=dict(classes=list("abc")), pipeline=[], lazy_init=True)
    assert _classes(unnamed)[1] == DATASETS.build(unnamed).metainfo["palette"]
    with pytest.raises(ValueError, match=r"metainfo\.palette: 19 colours for 2 classes"):
        _classes({**plain, "metainfo": dict(classes=["car", "boat"])})


def test_the_overlay_mixes_the_image_with_the_labels_colours(folder, segmentor):
    image = cv2.imread(str(folder / "images" / "one.png"))
    result = segmentor(image)
    picture = segmentor.draw(image, result, opacity=0.25, names=False, scale=1)
    colours = np.array(segmentor.palette)[result.pred_sem_seg.data[0]][:, :, ::-1]
    assert np.abs(picture - (0.75 * image + 0.25 * colours)).max() <= 1
    plain, told = (segmentor.draw(image, result, names=names) for names in (False, True))
    assert plain.shape == (400, 800, 3)  # of 128 x 256
    assert np.array_equal(told[:400], plain) and told.shape[0] > 400  # the legend


# --- pictures and files of maps ---------------------------------------------------------------------------------------


def test_colours_and_panels_follow_the_maps():
    ramp = np.linspace(0, 1, 40, dtype=np.float32)[:, None].repeat(60, 1)
    maps = {"confidence": ramp, "agreement": np.full((40, 60), 4 / 7, np.float32), "num_outputs": np.int64(7)}
    picture = coloured(maps, "confidence", (40, 60))
    assert picture.shape[0] == 40 and picture.shape[1] > 60
    brightness = picture[:, 0].astype(int) @ [114, 587, 299]
    assert (np.diff(brightness) >= 0).all() and brightness[-1] > 3 * brightness[0]
    halfway = coloured({"confidence": np.full((9, 9), 0.5, np.float32)}, "confidence", (9, 9))
    assert (coloured(maps, "agreement", (40, 60))[:, :60] == halfway[0, 0]).all()  # 4 lies between 1 and 7
    wide, tall = np.zeros((40, 60, 3), np.uint8), np.zeros((60, 40, 3), np.uint8)
    assert beside_maps(wide, maps).shape[0] == 3 * 40 + 2 * 6
    assert beside_maps(tall, {"confidence": maps["confidence"].T}).shape[0] == 60


def test_maps_without_the_request_are_an_error_that_says_what_to_do(folder):
    plain = Segmentor(FFC, folder / "a.pth", "cpu")
    with pytest.raises(KeyError, match="build the segmentor with_opinions"):
        maps_of(plain(folder / "images" / "one.png"))


def test_two_images_of_one_name_are_refused_and_one_seen_twice_is_not(tmp_path, segmentor, folder):
    sample = segmentor(folder / "images" / "one.png")
    writer = METRICS.build(dict(type="MapWriter", output_dir=str(tmp_path)))
    sample.set_metainfo(dict(img_path="x/one.png"))
    writer.process({}, [sample.to_dict(), sample.to_dict()])  # the sampler of several processes repeats images
    sample.set_metainfo(dict(img_path="y/one.png"))
    with pytest.raises(UserError, match=r"y/one\.png and x/one\.png: their maps would have the same name"):
        writer.process({}, [sample.to_dict()])


# --- the tools --------------------------------------------------------------------------------------------------------


def test_the_demo_draws_what_it_can_read_and_reports_the_rest(folder, segmentor):
    frames = [cv2.imread(str(folder / "images" / "one.png"))[:100, :151]] * 3
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (151, 100))
    for frame in frames:
        video.write(frame)
    video.release()
    done = run(folder, "demo_segment.py", FFC, "a.pth", "--input", "images", "clip.avi", "--output", "out",
               "--maps", "--save-maps", "--device", "cpu")  # fmt: skip
    assert done.returncode == 1, done.stderr[-3000:]
    assert "skipped images/torn.png" in done.stderr and "3 of 4 files drawn, 1 skipped" in done.stdout
    assert cv2.imread(str(folder / "out" / "more" / "two.jpg")).shape[0] > 800  # of 128 x 90, with a legend
    maps = np.load(folder / "out" / "maps" / "one.png.npz")
    expected = segmentor(folder / "images" / "one.png")
    assert np.array_equal(maps["label"], expected.pred_sem_seg.data[0])
    for name in ("confidence", "agreement"):
        grey = cv2.imread(str(folder / "out" / "maps" / f"one.png_{name}.png"), cv2.IMREAD_UNCHANGED)
        assert np.abs(grey / 255 - maps[name]).max() <= 0.5 / 255 + 1e-6
        np.testing.assert_allclose(maps[name], expected.get(name).data[0], atol=1e-5)
    reader = cv2.VideoCapture(str(folder / "out" / "clip.avi.mp4"))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    reader.release()


def test_stock_is_drawn_beside_ffc_and_needs_the_same_classes(folder, monkeypatch, capsys):
    from ffc_dense.segmentation.commands import predict

    monkeypatch.chdir(folder)
    arguments = [str(FFC), "a.pth", "--input", "images/one.png", "--device", "cpu", "--output", "strip", "--stock"]
    assert predict.main(predict.parse_args([*arguments, str(STOCK), "stock.pth"])) == 0
    strip = cv2.imread("strip/one.png")
    assert strip.shape[1] == 3 * 480 + 2 * 6
    cfg = Config.fromfile(STOCK)
    cfg.model.decode_head.num_classes = cfg.model.auxiliary_head.num_classes = 3
    cfg.test_dataloader.dataset.metainfo = dict(classes=["road", "sky", "car"])
    torch.manual_seed(0)
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, "three.pth")
    cfg.dump("three.py")
    with pytest.raises(UserError, match=r"--stock: three\.py has other classes than"):
        predict.main(predict.parse_args([*arguments, "three.py", "three.pth"]))


@pytest.mark.parametrize(("arguments", "message"), [
    (["missing.pth", "--input", "images"], "checkpoint missing.pth does not exist"),
    (["a.pth", "--input", "nowhere"], "there is no file or folder nowhere"),
    (["stock.pth", "--input", "images"], "decode_head.conv_seg.filters.0.weight is missing"),
])  # fmt: skip
def test_the_demo_refuses_before_it_draws(folder, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    from ffc_dense.segmentation.commands.predict import command

    with pytest.raises(SystemExit) as stopped:
        command([str(FFC), *arguments, "--output", "refused", "--device", "cpu"])
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("demo_segment.py: error:") and message in last
    assert not (folder / "refused").exists()


def test_the_evaluation_writes_maps_and_scores_an_ensemble_as_its_models_predict(folder):
    done = run(folder, "eval_cityscapes.py", FFC, "a.pth", "--ensemble", "b.pth", "--reduce", "vote,mean", "--maps",
               "--no-png", "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    written = folder / "ensemble_2_a"
    report = json.loads((written / "ensemble.json").read_text())
    assert report["weights"] == ["a.pth", "b.pth"] and list(report["results"]) == ["vote", "mean"]
    assert not (written / "reductions.json").exists()
    cfg = Config.fromfile(FFC)
    model = MODELS.build(dict(type="SegmentorEnsemble", member=cfg.model, size=2, opinions=True)).eval()
    for member, name in zip(model.members, ("a", "b"), strict=True):
        member.load_state_dict(torch.load(folder / f"{name}.pth")["state_dict"])
    path = sorted((folder / "data").rglob("val/*/*_leftImg8bit.png"))[0]
    image = torch.from_numpy(cv2.imread(str(path))).permute(2, 0, 1)
    sample = SegDataSample(metainfo=dict(ori_shape=(128, 256), img_shape=(128, 256)))
    with torch.no_grad():
        (expected,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
    found = np.load(written / "maps" / "vote" / f"{path.stem}.npz")
    assert (found["label"] == expected.pred_sem_seg.data[0].numpy()).mean() > 0.999
    assert found["num_outputs"] == 14
    assert np.abs(found["agreement"] - expected.agreement.data[0].numpy()).mean() < 1e-3
    assert "agreement" not in np.load(written / "maps" / "mean" / f"{path.stem}.npz")
