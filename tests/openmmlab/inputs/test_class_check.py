"""The number of classes is compared with the datasets that a command reads, and a string is no list of names."""

import pytest

pytest.importorskip("mmseg")

from mmengine.config import Config

import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense.errors import UserError
from ffc_dense.openmmlab.inputs.config_checks import check_config


def config(train, test, num_classes=2):
    return Config(dict(
        model=dict(type="EncoderDecoder", decode_head=dict(type="PSPHead", num_classes=num_classes)),
        train_dataloader=dict(dataset=train), val_dataloader=dict(dataset=train), test_dataloader=dict(dataset=test),
    ))  # fmt: skip


def own(**metainfo):
    return dict(type="BaseSegDataset", metainfo=metainfo)


def test_only_the_sets_that_are_read_are_compared():
    two, three = own(classes=("a", "b")), own(classes=("a", "b", "c"))
    check_config(config(three, two), trains=False)
    check_config(config(two, three), trains=True)
    with pytest.raises(UserError, match=r"decode_head\.num_classes: 2, but test_dataloader\.dataset"):
        check_config(config(two, three), trains=False)
    with pytest.raises(UserError, match=r"decode_head\.num_classes: 2, but train_dataloader\.dataset"):
        check_config(config(three, two), trains=True)


def test_an_optimizer_is_not_looked_at_in_a_test():
    cfg = config(own(classes=("a", "b")), own(classes=("a", "b")))
    cfg.optim_wrapper = dict(optimizer=dict(type="Nope"))
    check_config(cfg, trains=False)
    with pytest.raises(UserError, match="no optimizer is registered as 'Nope'"):
        check_config(cfg, trains=True)


@pytest.mark.parametrize("num_classes", [1, 2, 5])
@pytest.mark.parametrize("kind", ["BaseSegDataset", "mmseg.CityscapesDataset"])
def test_a_string_of_classes_lacks_a_comma(num_classes, kind):
    dataset = dict(type=kind, metainfo=dict(classes=("water")))
    with pytest.raises(UserError, match=r"metainfo\.classes: 'water' is one string.*comma: classes=\('water',\)"):
        check_config(config(dataset, dataset, num_classes))
    dataset["metainfo"]["classes"] = ("water",)
    if num_classes == 1:
        check_config(config(dataset, dataset, num_classes))
    else:
        with pytest.raises(UserError, match="has 1 classes"):
            check_config(config(dataset, dataset, num_classes))


def test_one_colour_lacks_a_comma():
    for palette in ((128, 0, 0), "red", ((128, 0),)):
        with pytest.raises(UserError, match=r"metainfo\.palette: expected a colour"):
            check_config(config({}, own(classes=("a",), palette=palette), 1))
    check_config(config({}, own(classes=("a",), palette=((128, 0, 0),)), 1))


def test_a_file_of_names_is_read(tmp_path):
    (tmp_path / "names.txt").write_text("grass\nwater\n")
    check_config(config({}, own(classes=str(tmp_path / "names.txt"))))
    with pytest.raises(UserError, match="has 2 classes"):
        check_config(config({}, own(classes=str(tmp_path / "names.txt")), 3))
