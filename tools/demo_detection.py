"""The detection picture of ``make demo``: ground truth, stock and FFC boxes, and how many outputs agreed on each."""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from detectron2.utils.logger import setup_logger

from ffc_dense.detection import SafeCheckpointer, add_ffc_config
from ffc_dense.detection.inputs.data_files import merge_config_file

BLUE, VERMILLION = "#0072B2", "#D55E00"  # of Okabe and Ito's colour-blind-safe palette
MIN_SCORE = 0.3  # boxes below it are not drawn
FIRST, DISPUTED = 2, 2  # images shown: the first ones, and those where FFC's outputs disagreed most


def load(folder: Path):
    """The trained model of a run, in eval mode on the CPU, and its config."""
    cfg = get_cfg()
    add_ffc_config(cfg)
    merge_config_file(cfg, str(folder / "config.yaml"))
    model = build_model(cfg)
    SafeCheckpointer(model).load(str(folder / "model_final.pth"))
    return model.eval(), cfg


@torch.no_grad()
def predict(model, sample: dict):
    """Detections of one image and what the outputs said of each one's proposal: labels (M, detections).

    M is 1 for the stock head. A proposal can be detected as several classes, of which the outputs elected at most one.
    """
    images = model.preprocess_image([sample])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features)
    heads = model.roi_heads
    pooled = heads.box_pooler([features[name] for name in heads.box_in_features], [p.proposal_boxes for p in proposals])
    box_features = heads.box_head(pooled)
    predictions = heads.box_predictor(box_features)
    detections, kept = heads.box_predictor.inference(predictions, proposals)
    classifier = heads.box_predictor.cls_score
    outputs = classifier.outputs(box_features) if hasattr(classifier, "outputs") else predictions[0][None]
    return detections[0], outputs.argmax(-1)[:, kept[0]]


def draw(work: Path) -> dict[str, int]:
    """Write ``work/detection.png``. Returns the number of parameters of each run."""
    setup_logger(name="detectron2").setLevel("ERROR")
    models = {name: load(work / name) for name in ("faster_rcnn", "faster_rcnn_ffc")}
    cfg = models["faster_rcnn"][1]
    dataset = "mini_coco_2017_val"
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
            for box, label, score, votes in _confident(*predict(model, sample)):
                text = f"{names[label]} {score:.2f}"
                if len(votes) > 1:
                    text += f", {votes.count(label)}/{len(votes)}"
                _box(axis, box, text, VERMILLION if _disputed(votes) else BLUE)
    for axis, title in zip(axes[0], ("ground truth", "stock", "FFC (vote): class, score, votes for it"), strict=True):
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
        return sum(_disputed(votes) for *_, votes in _confident(*predict(ffc, sample)))

    return samples[:FIRST] + sorted(samples[FIRST:], key=dispute, reverse=True)[:DISPUTED]


def _disputed(votes: list[int]) -> bool:
    return len(set(votes)) > 1


def _confident(detections, votes):
    """(box, label, score, votes of the outputs) of the detections drawn, the best last, so that it lies on top."""
    found = []
    for box, label, score, ballot in zip(
        detections.pred_boxes.tensor.tolist(),
        detections.pred_classes.tolist(),
        detections.scores.tolist(),
        votes.T.tolist(),
        strict=True,
    ):
        if score > MIN_SCORE:
            found.append((box, label, score, ballot))
    return sorted(found, key=lambda item: item[2])


def _box(axis, box, text: str, colour: str) -> None:
    x0, y0, x1, y1 = box
    axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=colour, linewidth=2))
    x, y = x0, max(y0 - 1, 5)
    while any(abs(x - other.get_position()[0]) < 30 and abs(y - other.get_position()[1]) < 6 for other in axis.texts):
        y += 6  # below a label that is there already
    axis.text(
        x,
        y,
        text,
        color="white",
        fontsize=7,
        verticalalignment="bottom",
        bbox=dict(facecolor=colour, edgecolor="none", pad=1),
    )
