"""The datasets that this package registers with detectron2: the mini dataset, and the user's own."""

import os
from collections.abc import Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from ...data.own import read_categories
from ...errors import UserError

_OWN: set[str] = set()


def register_own(datasets: Sequence[Sequence[str]]) -> None:
    """Register datasets in COCO's format, as ``--dataset`` names them. The same again changes nothing.

    Args:
        datasets: (name, annotation file, folder of the images) of each.

    Raises:
        UserError: a file or folder is not there, or the name is that of another dataset.
    """
    for name, annotations, images in datasets:
        key = f"--dataset {name}"
        if name in DatasetCatalog:
            known = MetadataCatalog.get(name)
            if (known.get("json_file"), known.get("image_root")) != (annotations, images):
                raise UserError(f"{key}: there is a dataset of that name already; choose another name")
            continue
        if not os.path.isdir(images):
            raise UserError(f"{key}: {images} is no folder; name the folder of the images")
        categories = read_categories(annotations, key)
        register_coco_instances(name, _metadata(categories), annotations, images)
        _OWN.add(name)


def check_own_classes(names: Sequence[str], number: int, key: str) -> None:
    """Refuse datasets of the user's own with other classes than the model's.

    Args:
        names: of datasets; registered elsewhere, they may have other classes, as detectron2 allows.
        number: of the model's classes, which ``key`` of the config says.

    Raises:
        UserError: the message says what to set.
    """
    for name in names:
        classes = MetadataCatalog.get(name).thing_classes if name in _OWN else None
        if classes is not None and len(classes) != number:
            raise UserError(
                f"{key} is {number}, --dataset {name} has {len(classes)} classes ({', '.join(classes[:5])}"
                f"{', ...' if len(classes) > 5 else ''}): set {key} to {len(classes)}"
            )


def dataset_class_names(name: str) -> list[str] | None:
    """The names of a registered dataset's classes: of its metadata, or else of its annotation file; None without."""
    metadata = MetadataCatalog.get(name)
    names = metadata.get("thing_classes")
    if names is None and os.path.isfile(metadata.get("json_file", "")):
        names = [category["name"] for category in read_categories(metadata.json_file, name)]
    return None if names is None else list(names)


def _metadata(categories: list[dict]) -> dict:
    """What detectron2 must know of the classes; of keypoints too, where the file has them."""
    found: dict = {"thing_classes": [category["name"] for category in categories]}
    keypoints = next((category["keypoints"] for category in categories if category.get("keypoints")), None)
    if keypoints:
        found["keypoint_names"] = keypoints
        pairs = ((name, name.replace("left", "right")) for name in keypoints if "left" in name)
        found["keypoint_flip_map"] = [pair for pair in pairs if pair[1] in keypoints]
    return found


def _register_mini_coco(root: str) -> None:
    """Register ``mini_coco_2017_train`` and ``mini_coco_2017_val`` (see :mod:`ffc_dense.minidata`) under ``root``.

    As with detectron2's builtin datasets, importing does it, under ``$DETECTRON2_DATASETS`` or else ``datasets``.
    """
    for split in ("train", "val"):
        annotations = os.path.join(root, "mini_coco", "annotations", f"instances_{split}2017.json")
        images = os.path.join(root, "mini_coco", f"{split}2017")
        register_coco_instances(f"mini_coco_2017_{split}", {}, annotations, images)


_register_mini_coco(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
