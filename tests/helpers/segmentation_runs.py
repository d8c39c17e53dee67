"""Trainings of a tiny FFC-PSPNet with the shipped hooks, through mmengine's Runner in this process."""

import uuid
from pathlib import Path
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

ROOT = Path(__file__).parent.parent.parent
SIZE = (64, 64)
CONFIG = """
_base_ = [{base!r}]
data_preprocessor = dict(size={size})
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(base_channels=8, stem_channels=8),
    decode_head=dict(in_channels=64, channels=8),
    auxiliary_head=dict(in_channels=32, channels=8))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(128, 128), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size={size}, cat_max_ratio=0.75), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=2, dataset=dict(data_root={data!r}, pipeline=pipeline))
val_dataloader = dict(dataset=dict(data_root={data!r}))
test_dataloader = val_dataloader
param_scheduler = [dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=0, end=1000, by_epoch=False)]
train_cfg = dict(max_iters=100000, val_interval=100000)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=1), logger=dict(interval=1))
"""


@HOOKS.register_module()
class Break(Hook):
    """Make the loss NaN in the given iterations (from 1), on one rank: of one term, or by NaN in the first image."""

    priority = "HIGHEST"

    def __init__(self, iterations, what: str = "term", rank: int = 0) -> None:
        self.iterations, self.what, self.rank = iterations, what, rank

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        now = runner.iter + 1 in self.iterations and runner.rank == self.rank
        model = getattr(runner.model, "module", runner.model)
        if self.what == "term":
            model.auxiliary_head.loss_decode.loss_weight = float("nan") if now else 0.4
        elif now:
            data_batch["inputs"][0] = torch.full_like(data_batch["inputs"][0], float("nan"), dtype=torch.float32)


def write_config(folder: Path, name: str = "tiny.py", more: str = "") -> Path:
    """A config whose data are those of ``folder/data/mini_cityscapes``."""
    base = ROOT / "configs" / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
    text = CONFIG.format(base=str(base), size=SIZE, data=str(folder / "data" / "mini_cityscapes")) + more
    (folder / name).write_text(text)
    return folder / name


def train(folder: Path, out: str, iterations: int, resume: bool = False, broken: dict | None = None, **changes):
    """Train to ``iterations`` -> the Runner. ``changes``: config keys with ``__`` for the dots."""
    cfg = Config.fromfile(folder / "tiny.py", format_python_code=False)  # seconds of yapf
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    # SIGTERM stays with pytest. mmengine shares its message hub between runs of the same name.
    cfg.merge_from_dict({"train_cfg.max_iters": iterations, "default_hooks.preemption.interval": 0, **changes})
    cfg.work_dir, cfg.resume, cfg.experiment_name = str(folder / out), resume, uuid.uuid4().hex
    if broken is not None:
        cfg.custom_hooks = [dict(type="Break", **broken)]
    with mock.patch("mmengine.runner.runner.collect_env", dict):  # seconds of nvcc, gcc and the like, for the log
        runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def load(path: Path) -> dict:
    return torch.load(path, weights_only=False)  # written by these tests
