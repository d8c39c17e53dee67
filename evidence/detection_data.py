"""The val images of the mini detection data in two parts."""

import json
from pathlib import Path

from detectron2.data.datasets import register_coco_instances

from .folders import HELD_OUT_IMAGES, data, write_json


def register(work: Path) -> None:
    """``evidence_test`` and ``evidence_heldout``: the val images in two parts, the held-out ones first."""
    root = data(work) / "mini_coco"
    whole = json.loads((root / "annotations/instances_val2017.json").read_text())
    images = sorted(whole["images"], key=lambda image: image["id"])
    for name, part in {"heldout": images[:HELD_OUT_IMAGES], "test": images[HELD_OUT_IMAGES:]}.items():
        ids = {image["id"] for image in part}
        annotations = [entry for entry in whole["annotations"] if entry["image_id"] in ids]
        file = data(work) / f"instances_{name}.json"
        if not file.exists():
            write_json(file, {**whole, "images": part, "annotations": annotations})
        register_coco_instances(f"evidence_{name}", {}, str(file), str(root / "val2017"))
