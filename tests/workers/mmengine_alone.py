"""A training of mmengine's Runner with our hooks and without any framework on mmengine.

    python mmengine_alone.py WORK_DIR ITERATIONS [resume]

Prints the random numbers that the model drew, one each iteration.
"""

import sys

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner, runner
from torch import nn
from torch.utils.data import Dataset


@MODELS.register_module()
class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs, mode="tensor"):
        drawn = torch.rand(())
        print(f"drawn {drawn.item()}")
        return {"loss": self.layer(torch.stack(inputs) + drawn).mean()}


@DATASETS.register_module()
class Numbers(Dataset):
    metainfo = {}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"inputs": torch.full((3,), float(index))}


CONFIG = """
custom_imports = dict(imports=["ffc_dense.openmmlab"], allow_failed_imports=False)
model = dict(type="Toy")
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type="Numbers"), sampler=dict(type="InfiniteSampler", shuffle=True))
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
train_cfg = dict(type="IterBasedTrainLoop", max_iters=2, val_interval=1000)
default_hooks = dict(
    checkpoint=dict(type="AtomicCheckpointHook", by_epoch=False, interval=1),
    safe_loading=dict(type="SafeLoadingHook"),
    random_state=dict(type="RandomStateHook"),
    non_finite_loss=dict(type="NonFiniteLossHook"),
    preemption=dict(type="PreemptionHook"))
custom_hooks = [dict(type="InitialWeightsHook")]
randomness = dict(seed=1)
log_level = "WARNING"
"""


if __name__ == "__main__":
    cfg = Config.fromstring(CONFIG, ".py")
    cfg.work_dir, cfg.train_cfg.max_iters, cfg.resume = sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["resume"]
    runner.collect_env = dict  # seconds of nvcc, gcc and the like, for the log
    Runner.from_cfg(cfg).train()
    loaded = {name.split(".")[0] for name in sys.modules} & {"mmseg", "mmcv", "mmpretrain", "detectron2"}
    assert not loaded, loaded
