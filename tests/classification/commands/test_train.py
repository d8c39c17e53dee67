"""Training through mmpretrain's own script: what is wrong with the input is one message before the first iteration."""

import re
import shutil

import pytest
from class_folders import write_images
from repository import ROOT
from tools_in_process import run_tool

pytest.importorskip("mmpretrain")

CONFIG = ROOT / "configs/imagenet/resnet18-ffc_1xb4-2_mini-imagenet-32x32_instant_test.py"
IMAGENET = ROOT / "configs/imagenet/resnet50-ffc_8xb32-90e_in1k.py"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_images(tmp_path / "data" / "mini_imagenet", per_class=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data" / "mini_imagenet"


def refused(said, config, *options):
    arguments = ["--cfg-options", *options] if options else []
    code, out, err = run_tool("mmseg_tool", "--device", "cpu", "train", config, "--work-dir", "out", *arguments)
    assert code == 2 and "Traceback" not in out + err, err[-2000:]
    (line,) = [line for line in err.splitlines() if "error: " in line]
    assert re.search(said, err), line


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.head.num_classes=11", r"head\.num_classes: 11, but train_dataloader\.dataset.* has 10 .* set it to 10"),
        ("model.head.num_filters=-1", r"head\.num_filters.*integer >= 0"),
        ("model.head.num_filter=2", r"head\.num_filter:.*did you mean num_filters"),
        ("model.head.test_reduce=votes", r"head\.test_reduce.*'votes'"),
        ("model.head.type=FFCLinearHead", r"head\.type.*did you mean FFCLinearClsHead"),
        ("model.head.type=FFCConformerHead", r"there is no FFCConformerHead: .* two linear layers"),
        ("model.backbone.depth=19", "depth.*19"),
        ("optim_wrapper.optimizer.type=SDG", r"optim_wrapper\.optimizer\.type"),
        ("train_dataloader.dataset.data_root=gone", "there is no folder gone/train; correct the path"),
        ("load_from=gone.pth", r"load_from: there is no file gone\.pth"),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(folder, option, said):
    refused(said, CONFIG, option)


def test_imagenet_that_is_not_there_or_holds_other_classes_is_told(folder):
    refused("there is no folder data/imagenet/train", IMAGENET)
    refused(
        "mini_imagenet/train has 10 class folders, ImageNet has 1000 classes",
        IMAGENET,
        f"train_dataloader.dataset.data_root={folder}",
    )


def test_splits_with_other_class_folders_are_refused(folder):
    shutil.move(folder / "val" / "n00000004", folder / "val" / "n00000004b")
    refused("val_dataloader: its class folders are not those of train_dataloader .n00000004b in val_dataloader", CONFIG)


def test_a_corrupt_image_is_named(folder):
    image = folder / "val" / "n00000007" / "0.JPEG"
    image.write_bytes(image.read_bytes()[:-200])
    refused(r"val_dataloader: .*n00000007/0\.JPEG: the file cannot be decoded", CONFIG)
