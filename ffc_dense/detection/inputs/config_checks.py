"""Keys of a detectron2 config that would fail late, or would be passed over in silence."""

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
)
from detectron2.modeling.proposal_generator import RPN_HEAD_REGISTRY
from detectron2.utils.registry import Registry
from omegaconf import DictConfig, OmegaConf

from ...errors import UserError
from ...errors.wording import closest, one_of
from ...method import options
from ..model.config import FFC, key_of
from ..model.roi_heads import Res5Stride1ROIHeads
from .config_errors import check_nodes, default_cfg

HEADS = "MODEL.ROI_HEADS.NAME"


def check_config(cfg: CfgNode) -> None:
    """Refuse names that nothing is registered under, and values of the FFC keys that do not work or have no effect.

    Raises:
        UserError: the message names the key and the value, and what to write.
    """
    check_model(cfg)
    check_registered_datasets("DATASETS.TRAIN", cfg.DATASETS.TRAIN)
    check_registered_datasets("DATASETS.TEST", cfg.DATASETS.TEST)


def check_model(cfg: CfgNode) -> None:
    """Identical to :func:`check_config`, except that the datasets are not looked at."""
    for key, name, registry in _registered(cfg):
        if name not in registry:
            names = [registered for registered, _ in registry]
            raise UserError(
                f"{key}: nothing is registered as {name!r} in detectron2's {registry._name}{one_of(name, names)}"
            )
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN":
        check_ffc(cfg)


def _registered(cfg: CfgNode) -> list[tuple[str, str, Registry]]:
    model = cfg.MODEL
    found = [("MODEL.META_ARCHITECTURE", model.META_ARCHITECTURE, META_ARCH_REGISTRY)]
    if model.META_ARCHITECTURE != "GeneralizedRCNN":
        return found
    found += [
        ("MODEL.BACKBONE.NAME", model.BACKBONE.NAME, BACKBONE_REGISTRY),
        ("MODEL.PROPOSAL_GENERATOR.NAME", model.PROPOSAL_GENERATOR.NAME, PROPOSAL_GENERATOR_REGISTRY),
        ("MODEL.ANCHOR_GENERATOR.NAME", model.ANCHOR_GENERATOR.NAME, ANCHOR_GENERATOR_REGISTRY),
        ("MODEL.RPN.HEAD_NAME", model.RPN.HEAD_NAME, RPN_HEAD_REGISTRY),
        (HEADS, model.ROI_HEADS.NAME, ROI_HEADS_REGISTRY),
    ]
    if model.ROI_BOX_HEAD.NAME:  # C4 models have none
        found.append(("MODEL.ROI_BOX_HEAD.NAME", model.ROI_BOX_HEAD.NAME, ROI_BOX_HEAD_REGISTRY))
    if model.MASK_ON:
        found.append(("MODEL.ROI_MASK_HEAD.NAME", model.ROI_MASK_HEAD.NAME, ROI_MASK_HEAD_REGISTRY))
    if model.KEYPOINT_ON:
        found.append(("MODEL.ROI_KEYPOINT_HEAD.NAME", model.ROI_KEYPOINT_HEAD.NAME, ROI_KEYPOINT_HEAD_REGISTRY))
    # An empty or precomputed part is none that the registry would have to know.
    return [entry for entry in found if entry[1] != "PrecomputedProposals"]


def check_registered_datasets(key: str, names) -> None:
    """Refuse a dataset that detectron2 has not registered."""
    known = DatasetCatalog.list()
    for name in names:
        if name not in known:
            raise UserError(
                f"{key}: no dataset is registered as {name!r}{closest(name, known)}; one of your own is registered "
                "with detectron2.data.datasets.register_coco_instances before the config is read"
            )


def check_ffc(cfg: CfgNode) -> None:
    """The keys of ``MODEL.ROI_BOX_HEAD.FFC`` alone."""
    ffc, defaults, name = cfg.MODEL.ROI_BOX_HEAD.FFC, default_cfg().MODEL.ROI_BOX_HEAD.FFC, cfg.MODEL.ROI_HEADS.NAME
    heads = ROI_HEADS_REGISTRY.get(name)
    # Heads of the user's own may build FFCFastRCNNOutputLayers themselves.
    stock = heads.__module__.startswith("detectron2.") or heads is Res5Stride1ROIHeads
    changed = [key for key in ffc if ffc[key] != defaults.get(key)]
    if stock and changed:
        twin = f"FFC{name}" if f"FFC{name}" in ROI_HEADS_REGISTRY else "one of the FFC heads"
        raise UserError(
            f"{FFC}.{changed[0]}: has no effect, {HEADS} {name} is a stock head; name {twin} there, or remove the key"
        )
    try:
        options.check({name: ffc[key_of(name)] for name in options.OPTIONS}, lambda name: f"{FFC}.{key_of(name)}")
    except ValueError as error:
        raise UserError(str(error)) from error


# LazyConfig


def check_lazy_config(cfg: DictConfig) -> None:
    """Refuse a LazyConfig without the parts that the runner reads, with classes or arguments that are not there, and
    with datasets that detectron2 has not registered.

    Raises:
        UserError: the message names the key.
    """
    for key in ("train", "model", "optimizer", "lr_multiplier", "dataloader.train", "dataloader.test"):
        if OmegaConf.select(cfg, key) is None:
            raise UserError(
                f"{key}: the config has no such key; import it from another config, such as detectron2's configs/common"
            )
    check_nodes(cfg)
    for loader, names in zip(("train", "test"), lazy_datasets(cfg), strict=True):
        check_registered_datasets(f"dataloader.{loader}.dataset.names", names)


def lazy_datasets(cfg: DictConfig) -> tuple[list[str], list[str]]:
    """Names of the registered datasets for training and testing; none for loaders that name none."""
    found = (OmegaConf.select(cfg, f"dataloader.{loader}.dataset.names") for loader in ("train", "test"))
    train, test = ([names] if isinstance(names, str) else list(names or ()) for names in found)
    return train, test
