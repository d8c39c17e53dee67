"""Trainings of a narrow detector on the mini dataset: a tenth of a second per iteration, checkpoints of 4 MB."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from detectron2 import model_zoo
from detectron2.config import CfgNode
from detectron2.config import LazyCall as L
from detectron2.data import DatasetCatalog, build_detection_train_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from omegaconf import DictConfig, OmegaConf
from small_detector import small_cfg
from torch import nn

from ffc_dense.detection.training.trainer import ReliableTrainer
from ffc_dense.minidata import make_mini_coco

# Of small_cfg: a ResNet-50 with few channels.
NARROW = (
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 8, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 50, "MODEL.RPN.CONV_DIMS", [16],
    "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.BASE_LR", 0.005, "SOLVER.WARMUP_ITERS", 2,
    "INPUT.RANDOM_FLIP", "horizontal", "INPUT.CROP.ENABLED", True, "INPUT.MIN_SIZE_TRAIN", [96, 120],
    "SOLVER.STEPS", [6], "SEED", 3, "DATASETS.TEST", [], "TEST.EVAL_PERIOD", 0,
)  # fmt: skip


def make_dataset(root: Path) -> str:
    """Make a mini dataset of 6 images and register it under a name of its own, which is returned."""
    make_mini_coco(root, 6, 2)
    name = f"tiny_{root.name}"
    if name not in DatasetCatalog:
        annotations = root / "annotations" / "instances_train2017.json"
        register_coco_instances(name, {}, str(annotations), str(root / "train2017"))
    return name


def tiny_cfg(out: Path, *opts) -> CfgNode:
    return small_cfg("FFCStandardROIHeads", *NARROW, "OUTPUT_DIR", str(out), *opts)


def train(cfg: CfgNode, resume: bool = False, kind: type[ReliableTrainer] = ReliableTrainer) -> ReliableTrainer:
    """A training as tools/train_net.py runs it, in this process."""
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    seed_all_rng(cfg.SEED)
    trainer = kind(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def tiny_lazy_cfg(out: Path, dataset: str, **train) -> DictConfig:
    """As :func:`tiny_cfg`, as a LazyConfig."""
    cfg = OmegaConf.create({"train": model_zoo.get_config("common/train.py").train})
    cfg.train.update({"output_dir": str(out), "device": "cpu", "init_checkpoint": "", "seed": 3, "max_iter": 10})
    cfg.train.update({"checkpointer": {"period": 4, "max_to_keep": 100}, "eval_period": 0, **train})
    cfg.model, cfg.dataloader = L(tiny_model)(), {"train": L(tiny_loader)(dataset=dataset)}
    cfg.optimizer = model_zoo.get_config("common/optim.py").SGD
    cfg.lr_multiplier = model_zoo.get_config("common/coco_schedule.py").lr_multiplier_1x
    return cfg


def tiny_model() -> nn.Module:
    return build_model(tiny_cfg(Path()))


def tiny_loader(dataset: str) -> Iterable:
    return build_detection_train_loader(tiny_cfg(Path(), "DATASETS.TRAIN", [dataset]))
