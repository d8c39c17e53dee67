"""The detection picture of ``make demo``: ground truth, stock and FFC boxes, and how many outputs agreed on each."""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from detectron2.utils.logger import setup_logger

from ffc_dense.detection import add_ffc_config

BLUE, VERMILLION = "#0072B2", "#D55E00"  # of Okabe and Ito's colour-blind-safe palette
MIN_SCORE = 0.3  # boxes below it are not drawn
FIRST, DISPUTED = 2, 2  # images shown: the first ones, and those where FFC's outputs disagreed most


def load(folder: Path):
    """The trained model of a run, in eval mode on the CPU, and its config."""
    cfg = get_cfg()
    add_ffc_config(cfg)
    cfg.merge_from_file(str(folder / "config.yaml"))
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(folder / "model_final.pth"))
    return model.eval(), cfg


@torch.no_grad()
def predict(model, sample: dict):
    """Detections of one image and the shares of outputs that voted for each one's class (1 for the stock head)."""
    images = model.preprocess_image([sample])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features)
    heads = model.roi_heads
    pooled = heads.box_pooler([features[name] for name in heads.box_in_features], [p.proposal_boxes for p in proposals])
    box_features = heads.box_head(pooled)
    predictions = heads.box_predictor(box_features)
    detections, kept = heads.box_predictor.inference(predictions, proposals)
    agreement = torch.ones(len(box_features))
    if hasattr(heads.box_predictor.cls_score, "outputs"):
        votes = heads.box_predictor.cls_score.outputs(box_features).argmax(-1)
        agreement = (votes == predictions[0].argmax(-1)).float().mean(0)
    return detections[0], agreement[kept[0]]


def draw(work: Path) -> dict[str, int]:
    """Write ``work/detection.png``. Returns the number of parameters of each run."""
    setup_logger(name="detectron2").setLevel("ERROR")
    models = {name: load(work / name) for name in ("faster_rcnn", "faster_rcnn_ffc")}
    cfg = models["faster_rcnn"][1]
    dataset = cfg.DATASETS.TEST[0]
    truth = {record["image_id"]: record for record in DatasetCatalog.get(dataset)}
    names = MetadataCatalog.get(dataset).thing_classes
    loader = build_detection_test_loader(cfg, dataset)
    samples = _choose([sample for (sample,) in loader], models["faster_rcnn_ffc"][0])

    figure, axes = plt.subplots(len(samples), 3, figsize=(12, 3.2 * len(samples)), layout="constrained")
    for row, sample in zip(axes, samples, strict=True):
        image = sample["image"].permute(1, 2, 0).numpy()[:, :, ::-1]
        for axis in row:
            axis.imshow(image)
            axis.axis("off")
        for item in truth[sample["image_id"]]["annotations"]:
            box = BoxMode.convert(item["bbox"], item["bbox_mode"], BoxMode.XYXY_ABS)
            _box(row[0], box, names[item["category_id"]], BLUE)
        for axis, (model, _) in zip(row[1:], models.values(), strict=True):
            for box, label, score, share in _confident(*predict(model, sample)):
                if axis is row[1]:
                    _box(axis, box, f"{names[label]} {score:.2f}", BLUE)
                else:
                    total = model.roi_heads.box_predictor.cls_score.num_outputs
                    text = f"{names[label]} {score:.2f}, {round(share * total)}/{total}"
                    _box(axis, box, text, BLUE if share == 1 else VERMILLION)
    for axis, title in zip(axes[0], ("ground truth", "stock", "FFC (vote): class, score, votes"), strict=True):
        axis.set_title(title)
    figure.suptitle(
        f"Mini COCO val: the first {FIRST} images and {DISPUTED} where FFC's outputs disagreed most (orange-red); "
        f"boxes with score > {MIN_SCORE}"
    )
    figure.savefig(work / "detection.png", dpi=110)
    plt.close(figure)
    return {name: sum(p.numel() for p in model.parameters()) for name, (model, _) in models.items()}


def _choose(samples: list[dict], ffc) -> list[dict]:
    def dispute(sample):
        return max((1 - share for *_, share in _confident(*predict(ffc, sample))), default=0.0)

    return samples[:FIRST] + sorted(samples[FIRST:], key=dispute, reverse=True)[:DISPUTED]


def _confident(detections, agreement):
    """(box, label, score, share of votes) of the detections that are drawn, the best last, so that it lies on top."""
    found = []
    for box, label, score, share in zip(
        detections.pred_boxes.tensor.tolist(), detections.pred_classes.tolist(), detections.scores.tolist(),
        agreement.tolist(), strict=True,
    ):
        if score > MIN_SCORE:
            found.append((box, label, score, share))
    return sorted(found, key=lambda item: item[2])


def _box(axis, box, text: str, colour: str) -> None:
    x0, y0, x1, y1 = box
    axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=colour, linewidth=2))
    x, y = x0, max(y0 - 1, 5)
    while any(abs(x - other.get_position()[0]) < 30 and abs(y - other.get_position()[1]) < 6 for other in axis.texts):
        y += 6  # below a label that is there already
    axis.text(
        x, y, text, color="white", fontsize=7, verticalalignment="bottom",
        bbox=dict(facecolor=colour, edgecolor="none", pad=1),
    )
