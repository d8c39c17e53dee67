"""What is wrong with HMDB51 or with the weights is told before the first iteration."""

import pytest
import torch
from repository import ROOT

pytest.importorskip("mmpretrain")
pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from mmengine.config import Config
from mmengine.runner import Runner

from ffc_dense.data.hmdb51_files import read_split
from ffc_dense.errors import UserError
from ffc_dense.minidata.hmdb51 import make_mini_hmdb51


@pytest.fixture
def root(tmp_path):
    return make_mini_hmdb51(tmp_path / "mini_hmdb51", 6, 6)


def train(root, stream="rgb", **changes):
    cfg = Config.fromfile(ROOT / f"configs/mini_hmdb51/resnext3d-mini-ffc_1xb12-200_mini-hmdb51-{stream}-16f.py")
    changes |= {f"{loader}.dataset.data_root": str(root) for loader in ("train_dataloader", "val_dataloader")}
    cfg.merge_from_dict({**changes, "work_dir": str(root.parent / "run"), "train_cfg.max_iters": 1})
    Runner.from_cfg(cfg).train()
    return root.parent / "run"


def test_another_number_of_classes_is_refused(root):
    with pytest.raises(UserError, match=r"model\.head\.num_classes: 51, but the split files in .* have 6 classes"):
        train(root, **{"model.head.num_classes": 51})


def test_missing_and_damaged_videos_are_named(root):
    _, videos = read_split(root, 1)
    videos[0].path(root).unlink()
    videos[2].path(root).write_bytes(b"no video")
    with pytest.raises(UserError, match=f"{videos[0].stem}.*neither video nor frames(.|\n)*{videos[2].stem}.*no frame"):
        train(root)


def test_missing_flow_is_told_with_the_command_that_makes_it(root):
    with pytest.raises(UserError, match=r"there is no flow of it; run: ffc-dense extract-flow.*\(and 3 more\)"):
        train(root, "flow")


def test_weights_with_another_number_of_channels_are_refused(root):
    checkpoint = train(root) / "iter_1.pth"
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    published = {f"module.{name.removeprefix('backbone.')}": value for name, value in state.items()}
    torch.save({"arch": "resnext-101", "state_dict": published}, root.parent / "kinetics.pth")
    init = dict(type="Pretrained", checkpoint=str(root.parent / "kinetics.pth"), prefix="module")
    train(root, **{"model.backbone.init_cfg": init})
    with pytest.raises(ValueError, match=r"model\.backbone\.init_cfg.*conv1\.weight: \(64, 3, 7, 7, 7\) in"):
        train(root, **{"model.backbone.init_cfg": init, "model.backbone.in_channels": 2})
