"""Keys of a detectron2 config that would fail late, or would be passed over in silence."""

from collections.abc import Iterator, Sequence

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
    SEM_SEG_HEADS_REGISTRY,
)
from detectron2.modeling.proposal_generator import RPN_HEAD_REGISTRY
from detectron2.utils.registry import Registry
from omegaconf import DictConfig, OmegaConf

from ...errors import UserError
from ...errors.wording import closest, one_of
from ...method import options
from ..model.config import FFC, key_of
from ..model.roi_heads import Res5Stride1ROIHeads
from .architectures import NO_INSTANCES, builds, has_roi_heads, num_classes, takes_proposals
from .config_errors import check_nodes, default_cfg
from .datasets import check_own_classes

HEADS = "MODEL.ROI_HEADS.NAME"


SPLITS = ("TRAIN", "TEST")


def check_config(cfg: CfgNode, splits: Sequence[str] = SPLITS) -> None:
    """Refuse names that nothing is registered under, and values of the FFC keys that do not work or have no effect.

    Args:
        splits: of the keys ``DATASETS.TRAIN`` and ``DATASETS.TEST``, those whose datasets are looked at; a model alone
            needs none.

    Raises:
        UserError: the message names the key and the value, and what to write.
    """
    check_model(cfg)
    for split in splits:
        check_registered_datasets(f"DATASETS.{split}", cfg.DATASETS[split])
        if cfg.MODEL.META_ARCHITECTURE not in NO_INSTANCES:
            check_own_classes(cfg.DATASETS[split], *num_classes(cfg))
        files = cfg.DATASETS[f"PROPOSAL_FILES_{split}"] if cfg.MODEL.LOAD_PROPOSALS else ()
        if takes_proposals(cfg) and len(files) != len(cfg.DATASETS[split]):
            raise UserError(
                f"DATASETS.PROPOSAL_FILES_{split}: the model takes precomputed proposals; set MODEL.LOAD_PROPOSALS "
                f"True and name a file for each dataset of DATASETS.{split}"
            )


def check_model(cfg: CfgNode) -> None:
    """Identical to :func:`check_config` without splits."""
    for key, name, registry in _registered(cfg):
        if name not in registry:
            names = [registered for registered, _ in registry]
            raise UserError(
                f"{key}: nothing is registered as {name!r} in detectron2's {registry._name}{one_of(name, names)}"
            )
    if has_roi_heads(cfg):
        check_ffc(cfg)
    else:
        check_no_ffc(cfg)


def _registered(cfg: CfgNode) -> Iterator[tuple[str, str, Registry]]:
    model = cfg.MODEL
    architecture = model.META_ARCHITECTURE
    yield "MODEL.META_ARCHITECTURE", architecture, META_ARCH_REGISTRY
    if builds(architecture, "build_backbone", "BACKBONE_REGISTRY"):
        yield "MODEL.BACKBONE.NAME", model.BACKBONE.NAME, BACKBONE_REGISTRY
    if builds(architecture, "build_sem_seg_head", "SEM_SEG_HEADS_REGISTRY"):
        yield "MODEL.SEM_SEG_HEAD.NAME", model.SEM_SEG_HEAD.NAME, SEM_SEG_HEADS_REGISTRY
    proposals = builds(architecture, "build_proposal_generator", "PROPOSAL_GENERATOR_REGISTRY")
    # Precomputed proposals are none that the registry would have to know.
    proposals = proposals and model.PROPOSAL_GENERATOR.NAME != "PrecomputedProposals"
    if proposals:
        yield "MODEL.PROPOSAL_GENERATOR.NAME", model.PROPOSAL_GENERATOR.NAME, PROPOSAL_GENERATOR_REGISTRY
        yield "MODEL.RPN.HEAD_NAME", model.RPN.HEAD_NAME, RPN_HEAD_REGISTRY
    if proposals or builds(architecture, "build_anchor_generator", "ANCHOR_GENERATOR_REGISTRY"):
        yield "MODEL.ANCHOR_GENERATOR.NAME", model.ANCHOR_GENERATOR.NAME, ANCHOR_GENERATOR_REGISTRY
    if not has_roi_heads(cfg):
        return
    yield HEADS, model.ROI_HEADS.NAME, ROI_HEADS_REGISTRY
    if model.ROI_BOX_HEAD.NAME:  # C4 models have none
        yield "MODEL.ROI_BOX_HEAD.NAME", model.ROI_BOX_HEAD.NAME, ROI_BOX_HEAD_REGISTRY
    if model.MASK_ON:
        yield "MODEL.ROI_MASK_HEAD.NAME", model.ROI_MASK_HEAD.NAME, ROI_MASK_HEAD_REGISTRY
    if model.KEYPOINT_ON:
        yield "MODEL.ROI_KEYPOINT_HEAD.NAME", model.ROI_KEYPOINT_HEAD.NAME, ROI_KEYPOINT_HEAD_REGISTRY


def check_registered_datasets(key: str, names) -> None:
    """Refuse a dataset that detectron2 has not registered."""
    known = DatasetCatalog.list()
    for name in names:
        if name not in known:
            raise UserError(
                f"{key}: no dataset is registered as {name!r}{closest(name, known)}; one of your own in COCO's "
                f"format is registered by --dataset {name} ANNOTATIONS.json IMAGES (docs/start/own-data-detectron2.md)"
            )


def check_ffc(cfg: CfgNode) -> None:
    """The keys of ``MODEL.ROI_BOX_HEAD.FFC`` alone."""
    ffc, name = cfg.MODEL.ROI_BOX_HEAD.FFC, cfg.MODEL.ROI_HEADS.NAME
    heads = ROI_HEADS_REGISTRY.get(name)
    # Heads of the user's own may build FFCFastRCNNOutputLayers themselves.
    stock = heads.__module__.startswith("detectron2.") or heads is Res5Stride1ROIHeads
    changed = _changed(cfg)
    if stock and changed:
        head = f"FFC{name}" if f"FFC{name}" in ROI_HEADS_REGISTRY else "one of the FFC heads"
        raise UserError(
            f"{FFC}.{changed[0]}: has no effect, {HEADS} {name} is a stock head; name {head} there, or remove the key"
        )
    try:
        options.check({name: ffc[key_of(name)] for name in options.OPTIONS}, lambda name: f"{FFC}.{key_of(name)}")
    except ValueError as error:
        raise UserError(str(error)) from error


def check_no_ffc(cfg: CfgNode) -> None:
    """Refuse FFC in a model without ROI heads, which would train as the stock model that it is."""
    found = [f"{FFC}.{key}" for key in _changed(cfg)]
    if cfg.MODEL.ROI_HEADS.NAME.startswith("FFC"):
        found.insert(0, f"{HEADS} {cfg.MODEL.ROI_HEADS.NAME}")
    if found:
        raise UserError(
            f"{found[0]}: has no effect, MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} has no ROI heads; name "
            "GeneralizedRCNN there, or remove the key"
        )


def _changed(cfg: CfgNode) -> list[str]:
    """The keys of FFC that have other values than by default."""
    ffc, defaults = cfg.MODEL.ROI_BOX_HEAD.FFC, default_cfg().MODEL.ROI_BOX_HEAD.FFC
    return [key for key in ffc if ffc[key] != defaults.get(key)]


# LazyConfig


def check_lazy_config(cfg: DictConfig, splits: Sequence[str] = SPLITS) -> None:
    """Refuse a LazyConfig without the parts that the runner reads, with classes or arguments that are not there, and
    with datasets that detectron2 has not registered.

    Args:
        splits: those that the command uses; only training needs ``TRAIN`` and an optimizer.

    Raises:
        UserError: the message names the key.
    """
    training = ("optimizer", "lr_multiplier", "dataloader.train") if "TRAIN" in splits else ()
    testing = ("dataloader.test",) if "TEST" in splits else ()
    for key in ("train", "model", *training, *testing):
        if OmegaConf.select(cfg, key) is None:
            raise UserError(
                f"{key}: the config has no such key; import it from another config, such as detectron2's configs/common"
            )
    check_nodes(cfg)
    classes, classes_key = lazy_num_classes(cfg)
    for split, names in zip(SPLITS, lazy_datasets(cfg), strict=True):
        if split in splits:
            check_registered_datasets(f"dataloader.{split.lower()}.dataset.names", names)
            if classes is not None:
                check_own_classes(names, classes, classes_key)


def lazy_num_classes(cfg: DictConfig) -> tuple[int | None, str]:
    """The number of the model's classes, None if the config does not say it, and the key that does."""
    keys = ("model.roi_heads.num_classes", "model.num_classes")
    found = ((OmegaConf.select(cfg, key), key) for key in keys)
    return next((pair for pair in found if pair[0] is not None), (None, keys[0]))


def lazy_datasets(cfg: DictConfig) -> tuple[list[str], list[str]]:
    """Names of the registered datasets for training and testing; none for loaders that name none."""
    found = (OmegaConf.select(cfg, f"dataloader.{loader}.dataset.names") for loader in ("train", "test"))
    train, test = ([names] if isinstance(names, str) else list(names or ()) for names in found)
    return train, test
