"""The mini detection data of the evidence, its val images in two parts."""

import json
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from .folders import data, write_json
from .plan import HELD_OUT_IMAGES


def register(work: Path) -> None:
    """``evidence_train``, and ``evidence_heldout`` and ``evidence_test``: the first and the other val images."""
    root = data(work) / "mini_coco"
    _register("train", root / "annotations/instances_train2017.json", root / "train2017")
    whole = json.loads((root / "annotations/instances_val2017.json").read_text())
    images = sorted(whole["images"], key=lambda image: image["id"])
    for name, part in {"heldout": images[:HELD_OUT_IMAGES], "test": images[HELD_OUT_IMAGES:]}.items():
        ids = {image["id"] for image in part}
        annotations = [entry for entry in whole["annotations"] if entry["image_id"] in ids]
        file = data(work) / f"instances_{name}.json"
        write_json(file, {**whole, "images": part, "annotations": annotations})
        _register(name, file, root / "val2017")


def _register(name: str, annotations: Path, images: Path) -> None:
    for catalog in (DatasetCatalog, MetadataCatalog):
        if f"evidence_{name}" in catalog:  # of another folder, in this process
            catalog.remove(f"evidence_{name}")
    register_coco_instances(f"evidence_{name}", {}, str(annotations), str(images))
