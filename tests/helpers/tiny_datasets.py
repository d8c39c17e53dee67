"""Registered datasets of two images in the layouts that detectron2's evaluators read, and models for them."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_sem_seg, register_coco_instances
from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from detectron2.data.datasets.cityscapes import load_cityscapes_instances, load_cityscapes_semantic
from detectron2.data.datasets.pascal_voc import register_pascal_voc
from detectron2.modeling import build_model
from PIL import Image
from small_detector import small_cfg

from ffc_dense.minidata import make_mini_cityscapes, make_mini_coco

DIGITS = tuple("0123456789")
# Of small_cfg, for each meta architecture: no model takes more than a second for two images.
QUICK = ("MODEL.RPN.POST_NMS_TOPK_TEST", 10, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.DETECTIONS_PER_IMAGE", 10)
RETINANET = (
    "MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"], "MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"],
    "MODEL.RETINANET.NUM_CLASSES", 10, "MODEL.RETINANET.NUM_CONVS", 1, "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0,
    "MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128]],
)  # fmt: skip
SEM_SEG = ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 19, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 32)
PANOPTIC = ("MODEL.META_ARCHITECTURE", "PanopticFPN", "MODEL.MASK_ON", True, *SEM_SEG)
SEGMENTOR = ("MODEL.META_ARCHITECTURE", "SemanticSegmentor", *SEM_SEG)
KEYPOINTS = ("MODEL.KEYPOINT_ON", True, "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", [8], "MODEL.ROI_HEADS.NUM_CLASSES", 1)
PRECOMPUTED = ("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals", "MODEL.LOAD_PROPOSALS", True)


def register(root: Path, kind: str) -> str:
    """Write a dataset below ``root`` and register it for the evaluator ``kind``; returns its name."""
    name = f"tiny_{kind}_{root.name}"
    if name in DatasetCatalog:
        return name
    if kind.startswith("cityscapes"):
        return _cityscapes(make_mini_cityscapes(root / kind, 1, 2), kind, name)
    coco = make_mini_coco(root / kind, 1, 2)
    annotations = coco / "annotations" / "instances_val2017.json"
    if kind == "pascal_voc":
        return _pascal_voc(coco, json.loads(annotations.read_text()), name)
    if kind == "sem_seg":
        return _sem_seg(coco, name)
    if kind == "keypoints":
        _add_keypoints(annotations)
    if kind == "lvis":
        _as_lvis(annotations)
    files = {"json_file": str(annotations), "image_root": str(coco / "val2017")}
    if kind in ("coco", "keypoints"):
        register_coco_instances(name, {}, *files.values())
    else:
        DatasetCatalog.register(name, lambda: load_coco_json(*files.values(), name))
        MetadataCatalog.get(name).set(**files, evaluator_type=kind)
    return name


def write_proposals(root: Path, name: str) -> str:
    """A proposal file for a dataset: its own boxes, moved a little."""
    ids, boxes, logits = [], [], []
    for each in DatasetCatalog.get(name):
        corners = np.array([entry["bbox"] for entry in each["annotations"]], np.float32)
        corners[:, 2:] += corners[:, :2]
        ids.append(each["image_id"])
        boxes.append(corners + 2)
        logits.append(np.ones(len(corners), np.float32))
    path = root / f"{name}.pkl"
    path.write_bytes(pickle.dumps({"ids": ids, "boxes": boxes, "objectness_logits": logits, "bbox_mode": 0}))
    return str(path)


def write_model(folder: Path, dataset: str, *opts, heads: str = "FFCStandardROIHeads", seed: int = 0) -> CfgNode:
    """config.yaml and model.pth with random weights below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    out = str(folder / "out")
    cfg = small_cfg(heads, *QUICK, "DATASETS.TRAIN", (), "DATASETS.TEST", (dataset,), "OUTPUT_DIR", out, *opts)
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    torch.manual_seed(seed)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    return cfg


def _add_keypoints(annotations: Path) -> None:
    content = json.loads(annotations.read_text())
    for each in content["annotations"]:
        x, y, width, height = each["bbox"]
        points = [value for i in range(17) for value in (x + width * i / 17, y + height / 2, 2)]
        each.update(keypoints=points, num_keypoints=17, category_id=1)
    content["categories"] = [{"id": 1, "name": "digit", "keypoints": [f"k{i}" for i in range(17)], "skeleton": []}]
    annotations.write_text(json.dumps(content))


def _as_lvis(annotations: Path) -> None:
    content = json.loads(annotations.read_text())
    for image in content["images"]:
        image.update(neg_category_ids=[], not_exhaustive_category_ids=[])
    for number, category in enumerate(content["categories"]):
        category["frequency"] = "rcf"[number % 3]
    annotations.write_text(json.dumps(content))


def _pascal_voc(coco: Path, content: dict, name: str) -> str:
    root = coco / "VOC"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    stems = []
    for image in content["images"]:
        stem = Path(image["file_name"]).stem
        shutil.copy(coco / "val2017" / image["file_name"], root / "JPEGImages" / f"{stem}.jpg")
        objects = ""
        for each in (each for each in content["annotations"] if each["image_id"] == image["id"]):
            x, y, width, height = map(int, each["bbox"])
            box = f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + width}</xmax><ymax>{y + height}</ymax>"
            objects += f"<object><name>{each['category_id'] - 1}</name><pose>x</pose><truncated>0</truncated>"
            objects += f"<difficult>0</difficult><bndbox>{box}</bndbox></object>"
        size = f"<size><width>{image['width']}</width><height>{image['height']}</height></size>"
        (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
        stems.append(stem)
    (root / "ImageSets" / "Main" / "val.txt").write_text("\n".join(stems) + "\n")
    register_pascal_voc(name, str(root), "val", 2007, DIGITS)
    MetadataCatalog.get(name).evaluator_type = "pascal_voc"
    return name


def _sem_seg(coco: Path, name: str) -> str:
    labels = coco / "labels"
    labels.mkdir(exist_ok=True)
    for number, path in enumerate(sorted((coco / "val2017").glob("*.jpg"))):
        values = np.full(Image.open(path).size[::-1], number, np.uint8)
        values[:20] = 255
        Image.fromarray(values).save(labels / f"{path.stem}.png")
    DatasetCatalog.register(name, lambda: load_sem_seg(str(labels), str(coco / "val2017"), "png", "jpg"))
    classes = [f"class{i}" for i in range(19)]
    MetadataCatalog.get(name).set(stuff_classes=classes, evaluator_type="sem_seg", ignore_label=255)
    return name


def _cityscapes(root: Path, kind: str, name: str) -> str:
    images, labels = (str(root / folder / "val") for folder in ("leftImg8bit", "gtFine"))
    load = load_cityscapes_semantic
    if kind == "cityscapes_instance":
        load = lambda *folders: load_cityscapes_instances(*folders, from_json=False)  # noqa: E731
    DatasetCatalog.register(name, lambda: load(images, labels))
    things = [each["name"] for each in CITYSCAPES_CATEGORIES if each["isthing"]]
    meta = MetadataCatalog.get(name).set(image_dir=images, gt_dir=labels, evaluator_type=kind, ignore_label=255)
    meta.set(thing_classes=things, stuff_classes=[e["name"] for e in CITYSCAPES_CATEGORIES if e["trainId"] < 19])
    return name
