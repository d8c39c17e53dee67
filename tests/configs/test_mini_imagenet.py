"""The configs of the mini ImageNet: what they train, and what FFC changes in them."""

import pytest
from repository import ROOT

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS

import ffc_dense.classification  # noqa: F401
from ffc_dense.minidata import make_mini_imagenet

NAMES = ("resnet18", "resnet18-ffc")


def config(name):
    return Config.fromfile(ROOT / f"configs/mini_imagenet/{name}_1xb32-504_mini-imagenet-64x64.py")


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def test_ffc_changes_the_head_alone_and_adds_three_layer_norms():
    stock, ffc = map(config, NAMES)
    counts = [sum(p.numel() for p in MODELS.build(cfg.model).parameters()) for cfg in (stock, ffc)]
    assert counts[1] - counts[0] == 3 * 2 * 128
    ffc.model.head.type = stock.model.head.type
    assert ffc.to_dict() == stock.to_dict()


def test_the_network_is_resnet_18_at_a_quarter_of_its_width():
    mini, whole = config("resnet18"), Config.fromfile(ROOT / "configs/imagenet/resnet18_8xb32-90e_in1k.py")
    backbones = [MODELS.build(cfg.model.backbone).state_dict() for cfg in (mini, whole)]
    assert backbones[0].keys() == backbones[1].keys()
    assert all(4 * len(ours) == len(backbones[1][name]) for name, ours in backbones[0].items() if ours.dim())


def test_training_and_test_images_are_the_mini_sets_unflipped(tmp_path):
    root = str(make_mini_imagenet(tmp_path / "mini_imagenet", num_train=2, num_val=1))
    cfg = config("resnet18")
    for loader, count in ((cfg.train_dataloader, 20), (cfg.test_dataloader, 10)):
        dataset = DATASETS.build(dict(loader.dataset, data_root=root))
        assert len(dataset) == count and dataset[count - 1]["data_samples"].gt_label.item() == 9
        assert dataset[0]["inputs"].shape == (3, 64, 64)
        assert not any("Flip" in str(step["type"]) for step in loader.dataset.pipeline)
