"""Weights behind a path handler: those of detectron2's PathManager, and those of a checkpointer's own."""

import hashlib

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler
from iopath.common.file_io import PathManager as Manager
from torch import nn

from ffc_dense.detection import SafeCheckpointer
from ffc_dense.detection.inputs.startup import check_weights
from ffc_dense.safe_files import UnsafeFileError
from ffc_dense.safe_files.digest import DigestError


class OpensOnly(PathHandler):
    """As a store in memory would be: files are opened, none is on this machine."""

    def __init__(self, prefix, folder):
        super().__init__()
        self.prefix, self.folder = prefix, folder

    def _get_supported_prefixes(self):
        return [self.prefix]

    def _isfile(self, path, **kwargs):
        return (self.folder / path.removeprefix(self.prefix)).is_file()

    def _open(self, path, mode="r", buffering=-1, **kwargs):
        return open(self.folder / path.removeprefix(self.prefix), mode)


class Fetches(OpensOnly):
    def _get_local_path(self, path, force=False, **kwargs):
        return str(self.folder / path.removeprefix(self.prefix))


@pytest.fixture(params=[OpensOnly, Fetches])
def handler(request, tmp_path):
    return request.param(f"{request.param.__name__.lower()}://", tmp_path)


def network(value):
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, value)
    return layer


@pytest.mark.parametrize("own", [False, True], ids=["PathManager", "of the checkpointer"])
def test_weights_are_read_through_the_handler_as_data(tmp_path, handler, own):
    torch.save({"model": network(3.0).state_dict(), "note": "kept"}, tmp_path / "a.pth")
    torch.save({"model": network(3.0)}, tmp_path / "code.pth")
    model = network(0.0)
    checkpointer = SafeCheckpointer(model)
    manager = PathManager
    if own:
        manager = checkpointer.path_manager = Manager()
    manager.register_handler(handler, allow_override=True)
    address = f"{handler.prefix}a.pth"
    assert checkpointer.load(address)["note"] == "kept"
    assert torch.equal(model.weight, network(3.0).weight)
    digest = hashlib.sha256((tmp_path / "a.pth").read_bytes()).hexdigest()
    checkpointer.load(f"{address}?sha256={digest}")
    with pytest.raises(DigestError):
        checkpointer.load(f"{address}?sha256={'0' * 64}")
    with pytest.raises(UnsafeFileError, match="Linear"):
        checkpointer.load(f"{handler.prefix}code.pth")


def test_the_commands_checks_read_them_too(tmp_path, handler):
    PathManager.register_handler(handler, allow_override=True)
    torch.save({"model": {}}, tmp_path / "a.pth")
    check_weights(f"{handler.prefix}a.pth", "MODEL.WEIGHTS")
    with pytest.raises(OSError, match=r"MODEL\.WEIGHTS: .*gone\.pth could not be fetched"):
        check_weights(f"{handler.prefix}gone.pth", "MODEL.WEIGHTS")


def test_stock_reads_what_the_handler_fetches(tmp_path):
    """The case in which detectron2's own checkpointer is the reference."""
    torch.save({"model": network(3.0).state_dict()}, tmp_path / "a.pth")
    found = []
    for kind in (DetectionCheckpointer, SafeCheckpointer):
        model = network(0.0)
        checkpointer = kind(model)
        checkpointer.path_manager = Manager()
        checkpointer.path_manager.register_handler(Fetches("stock://", tmp_path))
        checkpointer.load("stock://a.pth")
        found.append(model.weight)
    assert torch.equal(*found)
