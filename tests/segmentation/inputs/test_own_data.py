"""A folder of images and masks and a list of classes by ``--data``; the check of any mmseg dataset."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from segmentation_runs import write_config
from tools_in_process import program

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS

from ffc_dense.errors import UserError
from ffc_dense.openmmlab.inputs.config_checks import check_folders
from ffc_dense.openmmlab.inputs.read_config import parse_options, read_config
from ffc_dense.segmentation import CheckDatasetHook
from ffc_dense.segmentation.inputs.own_data import own_data_options

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners
PSP = ROOT / "configs" / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
NAMES = ["ground", "water", "tall grass"]
STEPS = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "lakes"
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            mask = rng.integers(0, 3, (2, 3), np.uint8).repeat(40, 0).repeat(40, 1)
            mask[:5] = 255
            pixels = np.stack([mask * 60] * 3, -1) + rng.integers(0, 20, (*mask.shape, 3), np.uint8)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / split / f"{index}.jpeg")
            Image.fromarray(mask).save(folder / "masks" / split / f"{index}.png")
    (folder / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return folder


@pytest.fixture
def lakes(original, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(original, tmp_path / "lakes"))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


@pytest.mark.usefixtures("quick")
def test_the_commands_of_the_docs_train_evaluate_and_predict(lakes, capfd):
    page = (ROOT / "docs/start/own-data-mmseg.md").read_text()
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    tiny = str(write_config(lakes.parent))
    block = block.replace("\\\n", " ").replace(f"{PSP.parent.name}/{PSP.name}", tiny).replace("iter_400", "iter_2")
    train, evaluate, predict = (shlex.split(line)[1:] for line in block.splitlines())
    short = ["train_cfg.max_iters=2", "default_hooks.checkpoint.interval=2", "train_cfg.val_interval=2",
             "default_hooks.preemption.interval=0", "train_dataloader.batch_size=2"]  # fmt: skip
    assert program(*train, "--cfg-options", *short) == 0
    said = capfd.readouterr().out
    for loader in ("train", "val"):
        assert f"dataset check: {loader}_dataloader, a BaseSegDataset: ok" in said
    assert program(*evaluate) == 0
    scores = Path("work_dirs/lakes/eval_iter_2")
    found = json.loads((scores / "reductions.json").read_text())["results"]["vote"]
    assert set(found["IoU"]) == set(NAMES)
    assert sorted(path.name for path in (scores / "png/vote").iterdir()) == ["0.png", "1.png"]
    shutil.rmtree("lakes/masks")  # prediction reads no mask
    assert program(*predict) == 0
    assert len([*Path("work_dirs/lakes/pictures").iterdir()]) == 2


@pytest.mark.parametrize("model", ["binary", "cascade"])
def test_every_head_gets_the_number_of_classes_and_every_dataset_the_folder(lakes, model):
    cfg = Config.fromfile(PSP)
    cfg.merge_from_dict(
        {"train_dataloader.dataset": dict(type="RepeatDataset", times=2, dataset=cfg.train_dataloader.dataset)}
    )
    cfg.train_dataloader.dataset.dataset.pipeline[1].reduce_zero_label = True
    if model == "cascade":
        cfg.model.decode_head = [cfg.model.decode_head, dict(type="FFCOCRHead", num_classes=19)]
    else:
        (lakes / "classes.txt").write_text("no\nyes\n")
    cfg.merge_from_dict(parse_options(own_data_options(cfg, lakes, "train")))
    heads = [*cfg.model.decode_head] if model == "cascade" else [cfg.model.decode_head]
    assert (
        [head.num_classes for head in [*heads, cfg.model.auxiliary_head]] == [3] * 3 if model == "cascade" else [2] * 2
    )
    dataset = cfg.train_dataloader.dataset.dataset
    init_default_scope("mmseg")
    dataset = DATASETS.build(dataset)
    assert len(dataset) == 3 and dataset.reduce_zero_label is False
    assert list(dataset.metainfo["classes"]) == (NAMES if model == "cascade" else ["no", "yes"])
    assert len(dataset.metainfo["palette"]) == len(dataset.metainfo["classes"])
    sample = dataset.pipeline.transforms[1](dict(dataset.get_data_info(0)))
    raw = np.array(Image.open(sample["seg_map_path"]))
    assert np.array_equal(sample["gt_seg_map"], raw)


FAULTS = {
    "no names": (lambda root: (root / "classes.txt").unlink(), "there is no .*classes.txt"),
    "a name twice": (lambda root: (root / "classes.txt").write_text("a\na\n"), "each name once"),
    "no masks": (lambda root: shutil.rmtree(root / "masks" / "val"), "there is no folder .*masks/val"),
    "no images": (lambda root: [p.unlink() for p in (root / "images" / "train").iterdir()], "train holds no file"),
    "two kinds": (lambda root: (root / "images" / "train" / "0.jpeg").rename(root / "images/train/0.png"),
                  ".jpeg and .png, of which mmseg reads one"),
    "a space": (lambda root: root.rename(root.with_name("my lakes")), "no path with spaces"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_with_the_folder_is_named(lakes, name, capfd):
    corrupt, said = FAULTS[name]
    corrupt(lakes)
    with pytest.raises(UserError, match=said):
        own_data_options(Config.fromfile(PSP), lakes if name != "a space" else "my lakes", "train")
    assert program("train", PSP, "--data") == 2 and "--data: expected" in capfd.readouterr().err


# The check of any dataset


def dataset(root, **options):
    init_default_scope("mmseg")
    options = dict(metainfo=dict(classes=NAMES), img_suffix=".jpeg", **options)
    return DATASETS.build(dict(
        type="BaseSegDataset", data_root=str(root), pipeline=STEPS,
        data_prefix=dict(img_path="images/train", seg_map_path="masks/train"), **options,
    ))  # fmt: skip


def repaint(root, value):
    path = root / "masks" / "train" / "1.png"
    mask = np.array(Image.open(path))
    mask[9, 9] = value
    Image.fromarray(mask).save(path)
    return path


def resized(root):
    path = root / "masks" / "train" / "1.png"
    Image.open(path).resize((20, 30)).save(path)
    return path


def coloured(root):
    path = root / "masks" / "train" / "1.png"
    Image.open(path).convert("RGB").save(path)
    return path


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])
    return path


def gone(path):
    path.unlink()
    return path


CORRUPTED = {
    "label-range": lambda root: repaint(root, 3),
    "label-size": resized,
    "label-mode": coloured,
    "missing-label": lambda root: gone(root / "masks" / "train" / "1.png"),
    "unreadable": lambda root: cut(root / "images" / "train" / "1.jpeg"),
}


@pytest.mark.parametrize("kind", CORRUPTED)
def test_a_fault_of_any_dataset_is_told_by_its_file(lakes, kind):
    hook = CheckDatasetHook()
    assert hook.check("train_dataloader", dataset(lakes)) == ""
    path = CORRUPTED[kind](lakes)
    found = hook.check("train_dataloader", dataset(lakes))
    assert "faulty: 1 error" in found and str(path) in found and f"[{kind}]" in found
    wrapped = DATASETS.build(dict(type="ConcatDataset", datasets=[dataset(lakes), dataset(lakes)]))
    assert hook.check("train_dataloader", wrapped).count(f"[{kind}]") == 2


def test_values_are_looked_at_as_mmseg_reads_them(lakes):
    repaint(lakes, 3)
    hook = CheckDatasetHook()
    assert hook.check("x", dataset(lakes, reduce_zero_label=True)) == ""  # 0 is ignored, 1 to 3 are the classes
    repaint(lakes, 4)
    assert "wrong values: 3 in 1 pixels" in hook.check("x", dataset(lakes, reduce_zero_label=True))


def test_a_mask_of_0_and_255_is_warned_of(lakes, monkeypatch):
    said = []
    monkeypatch.setattr("ffc_dense.segmentation.inputs.dataset_check.say", said.append)
    for path in lakes.glob("masks/train/*"):
        Image.fromarray(np.where(np.array(Image.open(path)) == 0, 0, 255).astype(np.uint8)).save(path)
    assert CheckDatasetHook().check("x", dataset(lakes)) == ""
    assert any("255 is ignored" in line and "[label-one-class]" in line for line in said)


@pytest.mark.parametrize("spelling", ["BaseSegDataset", "mmseg.BaseSegDataset", "RepeatDataset"])
def test_a_folder_without_images_is_refused_before_mmengine_fails(lakes, spelling):
    own = dict(type="BaseSegDataset", data_root="lakes", data_prefix=dict(img_path="images/train"))
    own = dict(type=spelling, times=1, dataset=own) if spelling == "RepeatDataset" else dict(own, type=spelling)
    with pytest.raises(UserError, match=r"data_prefix\.img_path: no file ends with \.jpg in lakes/images/train"):
        check_folders(Config(dict(train_dataloader=dict(dataset=own))), ("train_dataloader",))


def test_the_classes_reach_the_checkpoints_reader(lakes):
    cfg = read_config(str(PSP), parse_options(own_data_options(Config.fromfile(PSP), lakes, "predict")))
    init_default_scope("mmseg")
    torch.manual_seed(0)
    assert MODELS.build(cfg.model).decode_head.out_channels == 3
