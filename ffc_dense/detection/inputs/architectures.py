"""Which parts of a config a meta architecture builds, read from its code: users' own are asked like detectron2's."""

import inspect
from collections.abc import Callable, Iterator
from types import CodeType

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from ...errors import UserError

ROI_HEADS = ("build_roi_heads", "ROI_HEADS_REGISTRY")
NO_INSTANCES = {"SemanticSegmentor": "a label map", "ProposalNetwork": "proposals"}
CLASSES = {"RetinaNet": "RETINANET", "SemanticSegmentor": "SEM_SEG_HEAD"}  # the section with NUM_CLASSES


def has_roi_heads(cfg: CfgNode) -> bool:
    return builds(cfg.MODEL.META_ARCHITECTURE, *ROI_HEADS)


def builds(architecture: str, *names: str) -> bool:
    """Whether the code of a registered meta architecture uses one of these functions or registries."""
    return not _used(META_ARCH_REGISTRY.get(architecture)).isdisjoint(names)


def takes_proposals(cfg: CfgNode) -> bool:
    """Whether the model makes no proposals of its own, and takes those of ``DATASETS.PROPOSAL_FILES_*``."""
    builder = "build_proposal_generator", "PROPOSAL_GENERATOR_REGISTRY"
    precomputed = cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals"
    return precomputed and builds(cfg.MODEL.META_ARCHITECTURE, *builder)


def check_single_images(cfg: CfgNode) -> None:
    """Refuse models that find no instances in an image alone.

    Raises:
        UserError: the message says what the model needs or gives, and where it runs.
    """
    architecture = cfg.MODEL.META_ARCHITECTURE
    if takes_proposals(cfg):
        raise UserError(
            "MODEL.PROPOSAL_GENERATOR.NAME PrecomputedProposals: an image alone has no proposals; score the model on a "
            "dataset that has some (ffc-dense evaluate, analyze), or use a config with RPN"
        )
    if architecture in NO_INSTANCES:
        raise UserError(
            f"MODEL.META_ARCHITECTURE {architecture}: it gives {NO_INSTANCES[architecture]}, no instances, which are "
            "what is shown here; score it with ffc-dense evaluate"
        )


def boxes_alone(cfg: CfgNode) -> None:
    """Switch masks and keypoints off, where the model does without them."""
    if cfg.MODEL.META_ARCHITECTURE != "PanopticFPN":  # which builds its answer of masks
        cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = False


def num_classes(cfg: CfgNode) -> tuple[int, str]:
    """The number of classes that the model of ``cfg`` tells apart, and the key that says it."""
    section = CLASSES.get(cfg.MODEL.META_ARCHITECTURE, "ROI_HEADS")
    return cfg.MODEL[section].NUM_CLASSES, f"MODEL.{section}.NUM_CLASSES"


def _used(architecture: type | Callable) -> set[str]:
    """Every global name and attribute in the code that makes up a class, without what it overrides."""
    if not inspect.isclass(architecture):
        return set(_names(architecture.__code__))
    found: set[str] = set()
    for method in {name for base in architecture.__mro__ for name in vars(base)}:
        for base in architecture.__mro__:
            value = vars(base).get(method)
            function = inspect.unwrap(getattr(value, "__func__", value)) if value is not None else None
            if not hasattr(function, "__code__"):
                continue
            names = set(_names(function.__code__))
            found |= names
            if "super" not in names:
                break
    return found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
