"""A ``type`` of a config stands for what mmengine builds from it, however it is written."""

import pytest
import torch

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, init_default_scope
from mmseg.registry import DATASETS

import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense.errors import UserError
from ffc_dense.openmmlab.inputs.config_checks import check_config
from ffc_dense.openmmlab.inputs.config_errors import class_of, type_name


@pytest.mark.parametrize(
    "name",
    [
        "SGD",
        "mmengine.SGD",
        "torch.optim.AdamW",
        "torch.optim.adamw.AdamW",
    ],
)
def test_an_optimizer_is_what_mmengine_finds(name):
    init_default_scope("mmseg")
    expected = OPTIMIZERS.get(name)
    assert expected is not None and class_of(dict(type=name)) is expected


@pytest.mark.parametrize(
    "name", ["CityscapesDataset", "mmseg.CityscapesDataset", "mmseg.datasets.CityscapesDataset",
             "mmseg.datasets.cityscapes.CityscapesDataset"],
)  # fmt: skip
def test_a_wrong_number_of_classes_is_refused_for_every_spelling(name):
    for kind in (name, DATASETS.get(name)):
        cfg = config(dataset=dict(type=kind))
        check_config(cfg, trains=True)
        cfg.model.decode_head.num_classes = 7
        with pytest.raises(UserError, match=r"decode_head\.num_classes: 7, but .* CityscapesDataset, has 19 classes"):
            check_config(cfg, trains=True)


@pytest.mark.parametrize("name", ["AdamWW", "mmengine.SGDD", "torch.optim.AdamWW", "torch.optm.AdamW", "nothing.x"])
def test_a_name_that_mmengine_does_not_find_is_refused(name):
    init_default_scope("mmseg")
    assert OPTIMIZERS.get(name) is None
    with pytest.raises(UserError, match=r"optim_wrapper\.optimizer\.type: no optimizer"):
        check_config(config(optimizer=dict(type=name, lr=1)), trains=True)


def test_the_name_of_a_class_does_not_depend_on_how_it_is_written():
    for kind in ("AdamW", "torch.optim.AdamW", torch.optim.AdamW):
        assert type_name(dict(type=kind)) == "AdamW"
    assert type_name(dict(lr=1)) == type_name(None) == ""


def config(dataset=None, optimizer=None):
    return Config(dict(
        model=dict(type="EncoderDecoder", decode_head=dict(type="PSPHead", num_classes=19)),
        train_dataloader=dict(dataset=dataset or dict(type="CityscapesDataset")),
        optim_wrapper=dict(optimizer=optimizer or dict(type="SGD", lr=1)),
    ))  # fmt: skip
