"""``_base_ = ['PACKAGE::...']`` finds the configs of an installed package, whatever its distribution is called."""

from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("mmseg")

import mmseg
from mmengine.config import Config
from mmengine.config import utils as config_utils
from mmseg.registry import MODELS

from ffc_dense.errors import UserError
from ffc_dense.openmmlab.inputs.data_configs import check_config_files
from ffc_dense.openmmlab.inputs.read_config import read_config
from ffc_dense.openmmlab.installing import install
from ffc_dense.safe_files import UnsafeFileError

NAME = "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
FFC = "custom_imports = dict(imports=['ffc_dense.segmentation'])\nmodel = dict(decode_head=dict(type='FFCPSPHead'))\n"


@pytest.fixture
def without_distribution(monkeypatch):
    """As with the maintained packages: mmseg is there, and no distribution is called mmsegmentation."""
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version("no-such" if name == "mmsegmentation" else name))
    monkeypatch.setitem(config_utils.MODULE2PACKAGE, "mmseg", "mmsegmentation")
    install()


@pytest.fixture
def config(tmp_path):
    def write(base, more=""):
        (tmp_path / "own.py").write_text(f"_base_ = [{base!r}]\n{more}")
        return str(tmp_path / "own.py")

    return write


def without_scope(node):
    if isinstance(node, dict):
        return {key: without_scope(value) for key, value in node.items() if key != "_scope_"}
    return [without_scope(each) for each in node] if isinstance(node, list | tuple) else node


@pytest.mark.usefixtures("without_distribution")
def test_a_base_of_mmseg_is_its_shipped_file(config):
    shipped = Path(mmseg.__file__).parent / ".mim" / "configs" / NAME
    if not shipped.is_file():
        pytest.skip("mmseg came without its configs")
    found = read_config(config(f"mmseg::{NAME}", FFC), None, trains=True)
    expected = Config.fromfile(shipped)
    expected.merge_from_dict({"model.decode_head.type": "FFCPSPHead"})
    expected.custom_imports = dict(imports=["ffc_dense.segmentation"])
    assert without_scope(found.to_dict()) == without_scope(expected.to_dict())
    found.merge_from_dict({"model.pretrained": None, "model.backbone.norm_cfg.type": "BN"})
    assert type(MODELS.build(found.model.decode_head)).__name__ == "FFCPSPHead"


@pytest.mark.usefixtures("without_distribution")
def test_a_base_that_is_not_there_is_named(config):
    for base, said in (
        ("mmseg::pspnet/nothing.py", r"there is no .*mmseg/\.mim/configs/pspnet/nothing\.py"),
        ("mmdet3d::a/b.py", "_base_: mmdet3d is not installed"),
    ):
        with pytest.raises(UserError, match=said):
            read_config(config(base), None)


def test_a_package_whose_distribution_has_its_old_name_keeps_it(monkeypatch):
    monkeypatch.setitem(config_utils.MODULE2PACKAGE, "mmseg", "torch")  # some distribution that is installed
    install()
    assert config_utils.MODULE2PACKAGE["mmseg"] == "torch"


def test_data_only_configs_take_no_program_of_a_package(tmp_path):
    (tmp_path / "own.yaml").write_text(f"_base_: mmseg::{NAME}\nmodel: {{}}\n")
    with pytest.raises(UnsafeFileError, match="is a program of a package"):
        check_config_files(tmp_path / "own.yaml")
