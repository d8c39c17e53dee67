"""A mini HMDB51 model of random weights that tell videos apart, with its config, as files."""

import torch
from repository import ROOT

from ffc_dense.data.hmdb51_files import read_split


def saved_model(folder, data, stream="rgb", kind="-ffc", disagree=False):
    """(config, checkpoint) in ``folder``. ``kind``: '-ffc' or '', stock. ``disagree``: the outputs do."""
    from mmengine.config import Config
    from mmpretrain.registry import MODELS

    import ffc_dense.classification
    import ffc_dense.video  # noqa: F401

    cfg = Config.fromfile(ROOT / f"configs/mini_hmdb51/resnext3d-mini{kind}_1xb12-200_mini-hmdb51-{stream}-16f.py")
    cfg.merge_from_dict({"test_dataloader.dataset.data_root": str(data)})
    (folder / "config.py").write_text(cfg.pretty_text)
    torch.manual_seed(0)
    built = MODELS.build(cfg.model)
    if disagree:
        from small_classifier import disagreeing

        disagreeing(built)
    else:
        torch.nn.init.normal_(built.head.fc.weight, 0, 0.1)
    names = tuple(read_split(data, 1)[0])
    torch.save({"state_dict": built.state_dict(), "meta": {"dataset_meta": {"classes": names}}}, folder / "model.pth")
    return str(folder / "config.py"), str(folder / "model.pth")
