"""Parameters and FLOPs of an mmseg config, counted by mmengine's analysis tools."""

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules

import ffc_dense.openmmlab.inputs.safe_loading  # noqa: F401  (registers the heads; mmengine runs nothing that it reads)
from ffc_dense.inspection.cost import Count
from ffc_dense.openmmlab.commands.overhead import count_model, gpus_and_batch

# Config.fromfile, and not read_config: the files are this repository's own, which tests/configs/test_configs.py checks.


def resolved(path: str) -> tuple[str, str]:
    """(what the model and its input depend on, the input size in words): equal configs are counted once."""
    cfg = Config.fromfile(path)
    return f"{cfg.model.to_dict()}{input_size(cfg)}", "x".join(map(str, input_size(cfg)))


def schedule(path: str) -> dict:
    """Length and batch of the training, see :func:`gpus_and_batch`."""
    cfg = Config.fromfile(path)
    gpus, batch = gpus_and_batch(path, cfg)
    return {"iterations": cfg.train_cfg.max_iters, "images_per_iteration": gpus * batch}


def input_size(cfg: Config) -> tuple[int, int]:
    """(height, width): the crop that the config trains on, which is also the window of slide inference."""
    return tuple(cfg.crop_size)


def count(path: str) -> Count:
    """Count the model of a config in eval mode, for one image of :func:`input_size`, on the CPU.

    As in mmseg's ``get_flops.py`` the forward pass is mode 'tensor': it ends with the head's map of logits, before
    the resize to the image. Parameters include the auxiliary head, which that tool removes.
    """
    torch.manual_seed(0)
    cfg = Config.fromfile(path)
    register_all_modules(init_default_scope=False)
    init_default_scope("mmseg")
    cfg.model.pretrained = None
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    return count_model(model, "decode_head.conv_seg", (3, *input_size(cfg)))
