"""detectron2's LazyConfigs: reading them, and building what a command needs of them."""

import logging
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.config import LazyConfig, instantiate
from detectron2.data import transforms as T
from detectron2.modeling.roi_heads import CascadeROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ...errors import UserError
from ...errors.reporting import reading_input
from ...safe_files import UnsafeFileError
from ..model.predictor import FFCFastRCNNOutputLayers
from ..model.roi_heads import FFCCascadeROIHeads
from .config_checks import SPLITS, check_lazy_config, lazy_num_classes
from .config_errors import check_overrides, class_of_target, explain_lazy, explain_lazy_file, explain_overrides
from .datasets import dataset_class_names
from .startup import choose_device

MMENGINE = re.compile(r"^(_base_|custom_imports|default_scope)\s*=|\bread_base\(\)", re.MULTILINE)  # of its configs
WEIGHTS = "train.init_checkpoint"


def is_lazy(config: Any) -> bool:
    """Whether a config, or the name of its file, is a LazyConfig."""
    return isinstance(config, DictConfig) or (isinstance(config, str | Path) and str(config).endswith(".py"))


def read_lazy_config(
    path: str, overrides: Sequence[str], splits: Sequence[str] = SPLITS, *, weights_only: bool = False
) -> DictConfig:
    """A LazyConfig with ``overrides`` (``KEY=VALUE``) applied, checked. It is a program, and it runs.

    Args:
        splits: those whose data the command uses.
        weights_only: refuse it, as ``--weights-only`` does with whatever could hold code.

    Raises:
        UserError: the file, an override or a key is wrong; the message names it.
    """
    overrides = [str(override) for override in overrides]
    with reading_input(partial(explain_lazy_file, path=path)):
        if weights_only:
            raise UnsafeFileError("--weights-only: a LazyConfig is a program; use train_net.py and the .yaml config")
        if not path:
            raise UserError("--config-file: none is given; name a LazyConfig, a .py file")
        if not path.endswith(".py"):
            raise UnsafeFileError(
                f"--config-file {path}: expected a LazyConfig, a .py file. A .yaml file of detectron2's keys goes to "
                "train_net.py; a LazyConfig dumped as .yaml is a program in disguise: give the .py file"
            )
        if Path(path).is_file() and MMENGINE.search(Path(path).read_text(errors="replace")):
            raise UserError(
                f"--config-file {path}: expected a LazyConfig, this is a config of an mmengine framework; "
                "tools/mmseg_tool.py or ffc-dense takes it"
            )
        cfg = LazyConfig.load(path)
    with reading_input(partial(explain_overrides, overrides=overrides)):
        check_overrides(cfg, overrides)
        cfg = LazyConfig.apply_overrides(cfg, overrides)
    with reading_input(partial(explain_lazy, cfg=cfg)):
        check_lazy_config(cfg, splits)
    return cfg


def override(key: str, value: str) -> str:
    """``KEY=VALUE`` for a text, whatever is in it."""
    quoted = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


def build(cfg: DictConfig, key: str) -> Any:
    """What the node ``key`` of the config stands for."""
    with reading_input(partial(explain_lazy, cfg=cfg)):
        return instantiate(OmegaConf.select(cfg, key))


def build_model(cfg: DictConfig) -> nn.Module:
    with reading_input(lambda error: f"train.device {cfg.train.device!r}: {error}; name cuda or cpu"):
        model = build(cfg, "model").to(cfg.train.device)
    logging.getLogger("detectron2").info("Model:\n%s", model)
    return model


def on_device(cfg: DictConfig) -> DictConfig:
    """A copy that runs on the CPU where there is no CUDA."""
    cfg = cfg.copy()
    cfg.train.device = choose_device(cfg.train.device, "train.device", 1)
    return cfg


def test_input(cfg: DictConfig) -> tuple[T.ResizeShortestEdge, str]:
    """How ``dataloader.test.mapper`` resizes an image, and its order of channels.

    Raises:
        UserError: it does something else than resizing.
    """
    key = "dataloader.test.mapper"
    augmentations = build(cfg, f"{key}.augmentations") if OmegaConf.select(cfg, key) is not None else []
    if len(augmentations) != 1 or not isinstance(augmentations[0], T.ResizeShortestEdge):
        raise UserError(f"{key}.augmentations: expected one ResizeShortestEdge, as images are resized by it alone here")
    return augmentations[0], OmegaConf.select(cfg, f"{key}.image_format") or "BGR"


def class_names(cfg: DictConfig, number: int) -> list[str]:
    """Those of the test set, or else the numbers of the classes.

    Raises:
        ValueError: they are not as many as the model's classes.
    """
    names = OmegaConf.select(cfg, "dataloader.test.dataset.names")
    names = [names] if isinstance(names, str) else list(names or ())
    found = dataset_class_names(names[0]) if names else None
    if found is not None and len(found) != number:
        raise ValueError(
            f"the model has {number} classes, dataloader.test.dataset.names {names[0]} has {len(found)}: name the "
            "dataset that the model was trained on"
        )
    return found or [str(label) for label in range(number)]


def request_opinions(cfg: DictConfig, needed: bool = True) -> bool:
    """As :func:`ffc_dense.detection.request_opinions`, for a LazyConfig; ``cfg`` is changed.

    Args:
        needed: raise a UserError where the model has none.

    Returns:
        Whether the model was a stock one, which has no test modes.
    """
    heads = OmegaConf.select(cfg, "model.roi_heads")
    key = "box_predictors" if heads is not None and "box_predictors" in heads else "box_predictor"
    nodes = OmegaConf.select(cfg, f"model.roi_heads.{key}") if heads is not None else None
    predictors = [nodes] if OmegaConf.is_dict(nodes) else list(nodes or ())
    kinds = [class_of_target(OmegaConf.to_container(node, resolve=False)) for node in predictors]
    if not kinds or any(kind not in (FastRCNNOutputLayers, FFCFastRCNNOutputLayers) for kind in kinds):
        if needed:
            raise UserError(f"model.roi_heads.{key}: votes are reported by (FFC)FastRCNNOutputLayers only")
        return False
    stock = FastRCNNOutputLayers in kinds
    for node, kind in zip(predictors, kinds, strict=True):
        node["_target_"] = _name(FFCFastRCNNOutputLayers)
        node["opinions"] = True
        if kind is FastRCNNOutputLayers:  # the same network with the same parameter names
            node["num_filters"] = 0
    if class_of_target(OmegaConf.to_container(heads, resolve=False)) is CascadeROIHeads:
        heads["_target_"] = _name(FFCCascadeROIHeads)
    return stock


def number_of_classes(cfg: DictConfig) -> int:
    """Of the model.

    Raises:
        UserError: the config does not say.
    """
    number = lazy_num_classes(cfg)[0]
    if number is None:
        raise UserError("model.roi_heads.num_classes: the config has no such key; add it")
    return number


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
