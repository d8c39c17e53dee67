"""Weights behind a storage back end that the user registered with mmengine."""

import hashlib

import pytest
import torch

pytest.importorskip("mmengine")

import mmengine.fileio.backends.registry_utils as registered
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from torch import nn

from ffc_dense.openmmlab import install
from ffc_dense.openmmlab.inputs.checkpoint import classes_of, load_for_evaluation
from ffc_dense.openmmlab.inputs.initial_weights import check_initial_weights
from ffc_dense.safe_files import UnsafeFileError
from ffc_dense.safe_files.digest import DigestError

KEY = "model.backbone.init_cfg.checkpoint"
# A scheme of the user's own, and mmengine's two: by another class for the scheme, and in the place of its own one.
REGISTERED = {
    "store://": dict(name="store", prefixes="store"),
    "s3://": dict(name="mine", prefixes="s3", force=True),
    "cluster:petrel://": dict(name="petrel", prefixes=["petrel", "s3"], force=True),
}


@pytest.fixture(params=REGISTERED)
def address(request, tmp_path, monkeypatch):
    """What comes before a file's name; the files lie in ``tmp_path``."""

    class Store(BaseStorageBackend):
        def get(self, filepath):
            return (tmp_path / filepath.removeprefix(f"{request.param}bucket/")).read_bytes()

        def get_text(self, filepath, encoding="utf-8"):
            return self.get(filepath).decode(encoding)

    install()
    monkeypatch.setattr("mmengine.fileio.io.backend_instances", {})
    for known in ("backends", "prefix_to_backends"):
        for name, kind in getattr(registered, known).items():
            monkeypatch.setitem(getattr(registered, known), name, kind)  # as before the test, after it
        for name in ("store", "mine"):
            monkeypatch.setitem(getattr(registered, known), name, Store)
            monkeypatch.delitem(getattr(registered, known), name)
    register_backend(backend=Store, **REGISTERED[request.param])
    return f"{request.param}bucket/"


def test_weights_are_read_through_the_back_end_as_data(address, tmp_path):
    filled = nn.Linear(2, 2)
    meta = {"dataset_meta": {"classes": ("a", "b")}}
    torch.save({"state_dict": filled.state_dict(), "meta": meta}, tmp_path / "a.pth")
    torch.save({"state_dict": filled}, tmp_path / "code.pth")
    for load in (lambda model: load_checkpoint(model, f"{address}a.pth"),
                 lambda model: load_for_evaluation(model, f"{address}a.pth")):  # fmt: skip
        model = nn.Linear(2, 2)
        load(model)
        assert torch.equal(model.weight, filled.weight)
    assert classes_of(f"{address}a.pth") == ["a", "b"]
    digest = hashlib.sha256((tmp_path / "a.pth").read_bytes()).hexdigest()
    CheckpointLoader.load_checkpoint(f"{address}a.pth?sha256={digest}", "cpu")
    with pytest.raises(DigestError):
        CheckpointLoader.load_checkpoint(f"{address}a.pth?sha256={'0' * 64}", "cpu")
    with pytest.raises(UnsafeFileError, match="Linear"):
        CheckpointLoader.load_checkpoint(f"{address}code.pth", "cpu")


def test_initial_weights_are_checked_through_the_back_end(address, tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "a.pth")
    check_initial_weights(nn.Linear(2, 2), f"{address}a.pth", None, KEY)
    with pytest.raises(ValueError, match=f"{KEY}: {address}a.pth has other shapes for 2"):
        check_initial_weights(nn.Linear(3, 3), f"{address}a.pth", None, KEY)
    with pytest.raises(FileNotFoundError, match=f"{KEY}: {address}gone.pth cannot be read by mmengine's back end"):
        check_initial_weights(nn.Linear(2, 2), f"{address}gone.pth", None, KEY)


def test_an_address_that_no_back_end_has_is_refused(tmp_path):
    install()
    with pytest.raises(UnsafeFileError, match=r"elsewhere://a\.pth was not read"):
        CheckpointLoader.load_checkpoint("elsewhere://a.pth", "cpu")
    with pytest.raises(FileNotFoundError, match=r"elsewhere://a\.pth: no storage back end of mmengine"):
        load_for_evaluation(nn.Linear(2, 2), "elsewhere://a.pth")
    with pytest.raises(FileNotFoundError, match=r"s3://bucket/a.pth cannot be read .*petrel_client"):
        CheckpointLoader.load_checkpoint("s3://bucket/a.pth", "cpu")
