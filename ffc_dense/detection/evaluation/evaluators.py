"""detectron2's evaluators by the ``evaluator_type`` of a dataset, as its own ``tools/train_net.py`` chooses them."""

import os
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from unittest.mock import patch

import numpy as np
from detectron2 import evaluation
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, PanopticFPN
from detectron2.utils.file_io import PathManager
from PIL import Image

from ...errors import UserError
from .coco import OpinionCOCOEvaluator

# The evaluators that detectron2 makes for each type; all of them score the same pass over the data.
EVALUATORS: dict[str, tuple[str, ...]] = {
    "coco": ("coco",),
    "coco_panoptic_seg": ("sem_seg", "coco", "panoptic"),
    "sem_seg": ("sem_seg",),
    "lvis": ("lvis",),
    "pascal_voc": ("pascal_voc",),
    "cityscapes_instance": ("cityscapes_instance",),
    "cityscapes_sem_seg": ("cityscapes_sem_seg",),
}
LIBRARIES = {  # what an evaluator imports: (module, how to install it)
    "panoptic": ("panopticapi", "pip install 'git+https://github.com/cocodataset/panopticapi.git'"),
    "lvis": ("lvis", "pip install lvis"),
    "cityscapes_instance": ("cityscapesscripts", "pip install cityscapesscripts"),
    "cityscapes_sem_seg": ("cityscapesscripts", "pip install cityscapesscripts"),
}
OF_INSTANCES = ("coco", "lvis", "pascal_voc", "cityscapes_instance")  # that ask the model for instances alone


def check_evaluators(datasets: Sequence[str], key: str, kinds: Sequence[str] = tuple(EVALUATORS)) -> None:
    """Refuse datasets that nothing here can score, before any data is read.

    Args:
        key: the config key that names them, for the message.
        kinds: the evaluator types that will do.

    Raises:
        UserError: the message names the dataset, and what to do.
    """
    for dataset in datasets:
        kind = MetadataCatalog.get(dataset).get("evaluator_type")
        if kind not in kinds:
            raise UserError(
                f"{key}: {dataset} needs the evaluator {kind!r}, here there are {', '.join(kinds)}: name another "
                "dataset, or extend Trainer.build_evaluator as detectron2's tools/train_net.py does"
            )
        for part in EVALUATORS[kind]:
            module, install = LIBRARIES.get(part, ("", ""))
            if module and find_spec(module) is None:
                raise UserError(
                    f"{key}: the evaluator of {dataset} ({kind}) needs {module}, which is missing: {install}"
                )


def check_augmentation(cfg: CfgNode) -> None:
    """Refuse test-time augmentation where detectron2's ``GeneralizedRCNNWithTTA`` has none.

    Raises:
        UserError: the message names the key.
    """
    kind = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    plain = isinstance(kind, type) and issubclass(kind, GeneralizedRCNN) and not issubclass(kind, PanopticFPN)
    others = {
        f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE}": not plain,
        "MODEL.KEYPOINT_ON": cfg.MODEL.KEYPOINT_ON,
        "MODEL.LOAD_PROPOSALS": cfg.MODEL.LOAD_PROPOSALS,
    }
    for key in (key for key, found in others.items() if found):
        raise UserError(
            f"TEST.AUG.ENABLED: detectron2 augments boxes and masks of a GeneralizedRCNN alone, this is {key}; "
            "set it to False"
        )
    check_evaluators(cfg.DATASETS.TEST, "DATASETS.TEST (under TEST.AUG.ENABLED)", OF_INSTANCES)


def build_evaluator(
    dataset: str, folder: str, cfg: CfgNode, *, official: bool = False, opinions: bool = False
) -> DatasetEvaluator:
    """The evaluator of a registered dataset.

    Args:
        folder: for the predictions; those of Cityscapes and Pascal VOC write none.
        official: pycocotools itself, where detectron2 would prefer its own faster implementation.
        opinions: see :class:`OpinionCOCOEvaluator`; for COCO's evaluator alone.
    """
    coco = OpinionCOCOEvaluator if opinions else evaluation.COCOEvaluator
    make: dict[str, Callable[[], DatasetEvaluator]] = {
        "coco": lambda: coco(
            dataset,
            output_dir=folder,
            use_fast_impl=not official,
            kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
        ),
        "sem_seg": lambda: evaluation.SemSegEvaluator(
            dataset, distributed=True, output_dir=folder, sem_seg_loading_fn=_read_labels
        ),
        "panoptic": lambda: evaluation.COCOPanopticEvaluator(dataset, folder),
        "lvis": lambda: LVIS(dataset, output_dir=folder),
        "pascal_voc": lambda: evaluation.PascalVOCDetectionEvaluator(dataset),
        "cityscapes_instance": lambda: CityscapesInstances(dataset),
        "cityscapes_sem_seg": lambda: evaluation.CityscapesSemSegEvaluator(dataset),
    }
    os.makedirs(folder, exist_ok=True)
    found = [make[part]() for part in EVALUATORS[MetadataCatalog.get(dataset).evaluator_type]]
    return found[0] if len(found) == 1 else DatasetEvaluators(found)


def build_test_loader(cfg: CfgNode, dataset: str) -> Iterable[list[dict]]:
    """detectron2's, except that a model with keypoints needs no ``DATASETS.TRAIN``, whose flips only training uses."""
    without = cfg.clone()
    without.defrost()
    without.MODEL.KEYPOINT_ON = False
    return build_detection_test_loader(cfg, dataset, mapper=DatasetMapper(without, is_train=False))


class CityscapesInstances(evaluation.CityscapesInstanceEvaluator):
    """Identical to detectron2's, except that cityscapesscripts does not write its matches, into the working folder.

    Under numpy 2 it fails at them.
    """

    def evaluate(self) -> dict | None:
        from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official

        write = official.writeDict2JSON

        def write_scores(content, name):
            return None if name == "matches.json" else write(content, name)

        with patch.object(official, "writeDict2JSON", write_scores):
            return super().evaluate()


class LVIS(evaluation.LVISEvaluator):
    """Identical to detectron2's, except that lvis 0.5.3 finds ``numpy.float``, which numpy 1.24 removed."""

    def evaluate(self) -> dict | None:
        with patch.object(np, "float", float, create=True):
            return super().evaluate()


def _read_labels(file: str, copy: bool = False, dtype: type | None = None) -> np.ndarray:
    """A label image. detectron2's own reader asks for ``copy=False``, which numpy 2 refuses."""
    with PathManager.open(file, "rb") as opened:
        return np.asarray(Image.open(opened), dtype=dtype)
