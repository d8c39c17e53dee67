"""AP of a detector's dumped logits under every rule, by detectron2's NMS and COCOEvaluator.

    python -m evidence.score_detection WORK HEAD ITERATIONS SEED     # anew, from dump.pt
"""

import contextlib
import io
import logging
import sys
from pathlib import Path

import torch
from detectron2.evaluation import COCOEvaluator
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from torch import Tensor

from ffc_dense.filtering import interpolate_outputs

from .box_scores import rules
from .folders import folder, write_json
from .plan import HEADS, Run

SCORE_THRESHOLD, NMS_THRESHOLD, PER_IMAGE = 0.05, 0.5, 100  # detectron2's defaults


def outputs_of(entry: dict, run: Run) -> Tensor:
    """(M, R, K + 1)"""
    variant = HEADS[run.head].variant
    interpolates = variant is not None and variant.interpolate
    stages = list(entry["logits"])
    return torch.stack(interpolate_outputs(stages) if interpolates else stages)


def average_precision(part: list[dict], probabilities: list[Tensor], dataset: str) -> dict[str, float]:
    """{'AP', 'AP50', 'AP75'} of the boxes of ``part`` with the given (R, K + 1) for each image."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOEvaluator(dataset, ("bbox",), distributed=False)
        evaluator.reset()
        for entry, scores in zip(part, probabilities, strict=True):
            instances, _ = fast_rcnn_inference(
                [entry["boxes"]], [scores], [entry["size"]], SCORE_THRESHOLD, NMS_THRESHOLD, PER_IMAGE
            )
            evaluator.process([{"image_id": entry["image_id"]}], [{"instances": instances[0]}])
        found = evaluator.evaluate()["bbox"]
    return {name: found[name] for name in ("AP", "AP50", "AP75")}


def score(parts: dict[str, list[dict]], run: Run) -> dict[str, dict[str, float]]:
    """{rule: {'AP', 'AP50', 'AP75'}} on the test images."""
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    part = parts["test"]
    outputs = [outputs_of(entry, run) for entry in part]
    found = {}
    for name, rule in rules(len(outputs[0]), every=run.is_main).items():
        found[name] = average_precision(part, [rule(each) for each in outputs], "evidence_test")
    return found
