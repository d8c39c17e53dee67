"""A malformed dataset stops the training tools before the first iteration; images without objects train."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tools_in_process import TOOLS, run_tool

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from ffc_dense.minidata import make_mini_cityscapes, make_mini_coco

CONFIGS = TOOLS.parent / "configs"
YAML = CONFIGS / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
LAZY = CONFIGS / "coco" / "faster_rcnn_R_50_FPN_1x_ffc.py"
PSP = CONFIGS / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
SHORT = ["SOLVER.MAX_ITER", 1, "SOLVER.STEPS", "()", "SOLVER.IMS_PER_BATCH", 2, "SOLVER.WARMUP_ITERS", 0,
         "INPUT.MIN_SIZE_TRAIN", "(64,)", "MODEL.RPN.POST_NMS_TOPK_TRAIN", 20]  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    return make_mini_coco(root / "mini_coco", 3, 1), make_mini_cityscapes(root / "mini_cityscapes", 3, 1)


@pytest.fixture
def coco(originals, tmp_path, monkeypatch):
    """A copy to damage, registered as at_start_train and at_start_val."""
    root = Path(shutil.copytree(originals[0], tmp_path / "mini_coco"))
    names = ["at_start_train", "at_start_val"]
    for name in names:
        split = name.rpartition("_")[2]
        json_file = root / "annotations" / f"instances_{split}2017.json"
        register_coco_instances(name, {}, str(json_file), str(root / f"{split}2017"))
    monkeypatch.chdir(tmp_path)
    yield root
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def cityscapes(originals, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(originals[1], tmp_path / "data" / "mini_cityscapes"))


def edit(root, change, split="train"):
    path = root / "annotations" / f"instances_{split}2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def second(**values):
    return lambda root: edit(root, lambda content: content["annotations"][1].update(values))


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])
    return path


def gone(path):
    path.unlink()
    return path


def empty(folder):
    for path in list(folder.rglob("*.*")):
        path.unlink()
    return folder


def spread(root):
    """Category ids with gaps, as COCO's."""

    def change(content):
        for record in content["categories"]:
            record["id"] *= 7
        for record in content["annotations"]:
            record["category_id"] *= 7

    edit(root, change, "val")
    return edit(root, change)


IMAGE = "train2017/000000000001.jpg"
COCO = {  # corruption (returns the path that the message names), kind, what the message says
    "category == K": (second(category_id=11), "category", "category 11"),
    "category > K": (second(category_id=999), "category", "category 999"),
    "negative category": (second(category_id=-1), "category", "category -1"),
    "missing image": (lambda root: gone(root / IMAGE), "missing-image", "image 1 "),
    "truncated JPEG": (lambda root: cut(root / IMAGE), "unreadable", "truncated"),
    "empty annotation list": (lambda root: edit(root, lambda c: c["annotations"].clear()), "no-annotations", "no anno"),
    "box outside the image": (second(bbox=[150, 100, 30, 30]), "box-outside", "[150, 100, 30, 30]"),
    "wrong suffix": (
        lambda root: (root / IMAGE).rename(root / "train2017/000000000001.jpeg").with_suffix(".jpg"),
        "missing-image", "image 1 ",
    ),
    "empty folder": (lambda root: empty(root / "train2017"), "empty-folder", "empty"),
    "fault of the validation split": (lambda root: cut(next((root / "val2017").iterdir())), "unreadable", "truncated"),
}  # fmt: skip
NO_ERROR = {  # warnings, and what is legal
    "zero-area box": (second(bbox=[20, 20, 0, 10]), "[box-empty]"),
    "non-contiguous category ids": (spread, "ok: 0 errors, 0 warnings"),
}


def train_net(*opts, flags=()):
    names = ["DATASETS.TRAIN", "('at_start_train',)", "DATASETS.TEST", "('at_start_val',)"]
    return run_tool("train_net", "--config-file", YAML, *flags, "OUTPUT_DIR", "out", *names, *SHORT, *opts)


@pytest.mark.parametrize("name", COCO)
def test_a_malformed_coco_dataset_stops_the_training(coco, name):
    corrupt, kind, said = COCO[name]
    path = corrupt(coco)
    code, out, err = train_net()
    assert code == 2 and "Traceback" not in out + err
    fault = next(line for line in err.splitlines() if line.endswith(f"[{kind}]"))
    assert fault.startswith(f"  {path}: ") and said in fault
    assert "train anyway with --dataset-check warn" in err
    assert not Path("out").exists()


@pytest.mark.parametrize("name", NO_ERROR)
def test_what_is_no_error_is_told_and_goes_on(coco, name):
    corrupt, said = NO_ERROR[name]
    corrupt(coco)
    code, out, err = train_net("MODEL.RESNETS.DEPTH", 19)  # stopped after the check of the datasets
    assert said in out and code == 2 and "MODEL.RESNETS.DEPTH" in err


def test_faults_are_told_or_not_looked_for_on_request(coco):
    COCO["box outside the image"][0](coco)
    depth = ["MODEL.RESNETS.DEPTH", 19]
    code, out, err = train_net(*depth, flags=["--dataset-check", "warn"])
    assert code == 2 and "dataset check: warning: dataset at_start_train: faulty: 1 error" in out and "DEPTH" in err
    code, out, err = train_net(*depth, flags=["--dataset-check", "off"])
    assert code == 2 and "dataset check" not in out + err and "DEPTH" in err


def test_the_lazy_runner_checks_too(coco):
    path = COCO["truncated JPEG"][0](coco)
    names = ["dataloader.train.dataset.names=at_start_train", "dataloader.test.dataset.names=at_start_val"]
    options = ["train.init_checkpoint=", "model.roi_heads.num_classes=10", "train.output_dir=out", *names]
    code, out, err = run_tool("lazyconfig_train_net", "--config-file", LAZY, *options)
    assert code == 2 and f"  {path}: " in err and "[unreadable]" in err and "Traceback" not in out + err


# Cityscapes


def image(root, split="train"):
    return next(iter(sorted((root / "leftImg8bit" / split).rglob("*_leftImg8bit.png"))))


def label(root, kind="labelTrainIds"):
    return next(iter(sorted((root / "gtFine" / "train").rglob(f"*_gtFine_{kind}.png"))))


def repaint(value, dtype=np.uint8):
    def corrupt(root):
        path = label(root)
        pixels = np.array(Image.open(path)).astype(dtype)
        pixels[:2, :5] = np.array(value).astype(dtype)
        Image.fromarray(pixels).save(path)
        return path

    return corrupt


CITYSCAPES = {
    "labelIds": (lambda root: Path(shutil.copy(label(root, "labelIds"), label(root))), "label-ids", "in place of"),
    "label == K": (repaint(19), "label-range", "19"),
    "label > K": (repaint(200), "label-range", "200"),
    "negative label": (repaint(-1, np.uint16), "label-negative", "negative"),
    "missing image": (lambda root: gone(image(root)), "missing-image", "not there"),
    "truncated PNG": (lambda root: cut(image(root)), "unreadable", "cannot be decoded"),
    "truncated label": (lambda root: cut(label(root)), "unreadable", "cannot be decoded"),
    "wrong suffix": (lambda root: image(root).rename(image(root).with_suffix(".jpg")), "wrong-suffix", "not end with"),
    "empty city": (lambda root: (root / "leftImg8bit/train/zurich").mkdir() or root / "leftImg8bit/train/zurich",
                   "empty-folder", "empty"),
    "fault of the validation split": (lambda root: cut(image(root, "val")), "unreadable", "cannot be decoded"),
}  # fmt: skip


def mmseg_train(*options):
    return run_tool("mmseg_tool", "train", PSP, "--work-dir", "out", "--cfg-options", "train_cfg.max_iters=1", *options)


@pytest.mark.parametrize("name", CITYSCAPES)
def test_a_malformed_cityscapes_dataset_stops_the_training(cityscapes, name):
    corrupt, kind, said = CITYSCAPES[name]
    path = corrupt(cityscapes).relative_to(cityscapes.parent.parent)
    code, out, err = mmseg_train()
    assert code == 2 and "Traceback" not in out + err
    fault = next(line for line in err.splitlines() if line.endswith(f"[{kind}]"))
    assert fault.startswith(f"  {path}: ") and said in fault
    assert "train anyway with --cfg-options default_hooks.dataset_check.mode=warn" in err


@pytest.mark.parametrize("folder", ["leftImg8bit/train", "gtFine/train", "gtFine/val"])
def test_an_empty_cityscapes_folder_stops_the_training(cityscapes, folder):
    empty(cityscapes / folder)
    code, out, err = mmseg_train()
    assert code == 2 and folder in err and "docs/how-to/datasets.md" in err and "Traceback" not in out + err


# Real processes, and what is legal


def process(*command):
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore", DETECTRON2_DATASETS=".")
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_images_without_objects_train_in_detectron2(coco):
    def change(content):
        first = content["images"][0]["id"]
        content["annotations"] = [record for record in content["annotations"] if record["image_id"] != first]

    edit(coco, change)
    options = ["SOLVER.IMS_PER_BATCH", 3, "DATALOADER.FILTER_EMPTY_ANNOTATIONS", False, "DATASETS.TEST", "()"]
    code, out, err = train_net(*options, "MODEL.DEVICE", "cpu")
    assert code == 0, out[-1500:] + err[-1500:]
    assert "dataset check: dataset at_start_train: ok" in out and Path("out/model_final.pth").is_file()


def test_labels_to_ignore_throughout_train_in_mmseg(cityscapes):
    for kind, value in (("labelTrainIds", 255), ("labelIds", 0)):
        path = label(cityscapes, kind)
        Image.fromarray(np.full((128, 256), value, np.uint8)).save(path)
    options = ["train_cfg.max_iters=1", "default_hooks.checkpoint.interval=1", "train_dataloader.batch_size=2"]
    code, out, err = run_tool("mmseg_tool", "train", PSP, "--work-dir", "out", "--cfg-options", *options)
    assert code == 0, out[-1500:] + err[-1500:]
    assert "dataset check: train_dataloader data/mini_cityscapes, train: ok" in out + err
    assert Path("out/iter_1.pth").is_file()


@pytest.mark.ci
def test_the_first_of_several_processes_stops_all(coco):
    path = COCO["truncated JPEG"][0](coco)
    command = [TOOLS / "train_net.py", "--config-file", YAML, "--num-gpus", 2, "--dist-url", "auto"]
    code, out, err = process(*command, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", "out")
    assert code == 2 and "Traceback" not in out + err
    assert err.count("train_net.py: error: ") == 1 and err.count(f"{path.name}: the file cannot be decoded") == 1
