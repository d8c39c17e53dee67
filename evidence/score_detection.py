"""AP of a detector's dumped logits under every rule, by detectron2's NMS and COCOEvaluator.

Shape shorthand: M outputs, R proposals, K classes.
"""

import contextlib
import io
import logging
import math
from collections.abc import Callable

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from .box_scores import RULES, rules, single
from .outputs import outputs_of
from .plan import Run
from .selectors import CHOSEN, EVERY_SCORE

SCORE_THRESHOLD, NMS_THRESHOLD, PER_IMAGE = 0.05, 0.5, 100  # detectron2's defaults


def average_precision(
    part: list[dict], probabilities: list[Tensor], dataset: str, threshold: float = SCORE_THRESHOLD
) -> dict[str, float]:
    """{'AP', 'AP50', 'AP75'} of the boxes of ``part`` with the given (R, K + 1) for each image."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOEvaluator(dataset, ("bbox",), distributed=False)
        evaluator.reset()
        for entry, scores in zip(part, probabilities, strict=True):
            instances, _ = fast_rcnn_inference(
                [entry["boxes"]], [scores], [entry["size"]], threshold, NMS_THRESHOLD, PER_IMAGE
            )
            evaluator.process([{"image_id": entry["image_id"]}], [{"instances": instances[0]}])
        found = evaluator.evaluate()["bbox"]
    # The evaluator gives NaN if there is no detection at all.
    return {name: 0.0 if math.isnan(found[name]) else found[name] for name in ("AP", "AP50", "AP75")}


def score(parts: dict[str, list[dict]], run: Run) -> dict[str, dict[str, float]]:
    """{rule: {'AP', 'AP50', 'AP75'}} on the test images."""
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    part = parts["test"]
    outputs = [outputs_of(entry["logits"], run) for entry in part]
    found = {}
    for name, rule in rules(len(outputs[0]), every=run.is_main).items():
        found[name] = average_precision(part, [rule(each) for each in outputs], "evidence_test")
    return found


def score_selected(run: Run, parts: dict[str, list[dict]], answer: Callable) -> dict:
    """The scores of the selectors, and of every rule without a threshold on the scores.

    Args:
        answer: the labels of the proposals -> the selectors' log-probabilities.
    """
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    labels = {name: _labels(part, f"evidence_{name}") for name, part in parts.items()}
    test, heldout = parts["test"], parts["heldout"]
    probabilities = {name: [each.exp() for each in per_image] for name, per_image in answer(labels).items()}
    found = {name: average_precision(test, per_image, "evidence_test") for name, per_image in probabilities.items()}
    outputs = [outputs_of(entry["logits"], run) for entry in test]
    if len(outputs[0]) > 1:
        known = [outputs_of(entry["logits"], run) for entry in heldout]
        singles = {f"out{i + 1}": single(i + 1) for i in range(len(outputs[0]))}
        scores = {name: average_precision(heldout, [rule(each) for each in known], "evidence_heldout")["AP"]
                  for name, rule in singles.items()}  # fmt: skip
        chosen = singles[max(scores, key=scores.get)]
        found[CHOSEN] = average_precision(test, [chosen(each) for each in outputs], "evidence_test")
        # A rule that scales scores moves boxes across the threshold; without one, only their order matters.
        probabilities |= {name: [rule(each) for each in outputs] for name, rule in RULES.items()}
        for name, per_image in probabilities.items():
            found[name + EVERY_SCORE] = average_precision(test, per_image, "evidence_test", threshold=0.0)
    return found


def _labels(part: list[dict], dataset: str) -> list[Tensor]:
    """(R,) for each image: the true class of every proposal, K for the background.

    The true class is that of the object with the largest overlap, by more than half, with the proposal's box for this
    class.
    """
    objects = {entry["image_id"]: entry["annotations"] for entry in DatasetCatalog.get(dataset)}
    background = len(MetadataCatalog.get(dataset).thing_classes)
    found = []
    for entry in part:
        overlaps, classes = [torch.full((len(entry["boxes"]), 1), 0.5)], [background]
        for annotation in objects[entry["image_id"]]:
            x, y, width, height = annotation["bbox"]
            label = annotation["category_id"]
            boxes = Boxes(entry["boxes"].unflatten(1, (-1, 4))[:, label])
            overlaps.append(pairwise_iou(boxes, Boxes(torch.tensor([[x, y, x + width, y + height]]))))
            classes.append(label)
        found.append(torch.tensor(classes)[torch.cat(overlaps, 1).argmax(1)])
    return found
