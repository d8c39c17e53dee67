import os

from detectron2.data.datasets import register_coco_instances


def _register_mini_coco(root: str) -> None:
    """Register ``mini_coco_2017_train`` and ``mini_coco_2017_val`` (see :mod:`ffc_dense.minidata`) under ``root``.

    As with detectron2's builtin datasets, importing does it, under ``$DETECTRON2_DATASETS`` or else ``datasets``.
    """
    for split in ("train", "val"):
        annotations = os.path.join(root, "mini_coco", "annotations", f"instances_{split}2017.json")
        images = os.path.join(root, "mini_coco", f"{split}2017")
        register_coco_instances(f"mini_coco_2017_{split}", {}, annotations, images)


_register_mini_coco(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
