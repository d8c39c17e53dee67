"""Table 1 for a detector: the decisions are the proposals that the box head classifies.

Shape shorthand: R proposals of an image, M outputs, K foreground classes (label K is the background).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import torch
from detectron2.data import DatasetMapper
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Boxes, BoxMode, pairwise_ioa, pairwise_iou
from torch import Tensor

from ...inspection.activity import active_units
from ...inspection.analysis import Analysis
from ...inspection.decisions import NONE
from ...method.reductions import reduced
from ...method.voting import elect, vote
from ..evaluation.reductions import AllReductions

MATCHING_IOU = 0.5
SHOWN_BOXES = 40  # at most, for each image of the gallery


class Annotated:
    """A mapper of test images, except that ``annotations`` stay, as the dataset has them."""

    def __init__(self, mapper: Callable[[dict], dict]):
        self.mapper = mapper

    def __call__(self, dataset_dict: dict) -> dict:
        return {**self.mapper(dataset_dict), "annotations": dataset_dict.get("annotations")}


class AnnotatedMapper(DatasetMapper):
    """Identical to :class:`DatasetMapper` at test time, except that ``annotations`` stay, as in :class:`Annotated`."""

    def __call__(self, dataset_dict: dict) -> dict:
        return Annotated(super().__call__)(dataset_dict)


class AnalyzedDetector(AllReductions):
    """Identical to :class:`AllReductions` under every output, mean and vote, except that ``analysis`` is kept.

    The inputs come from :class:`Annotated`. Of a cascade, the last stage's classifier and its proposals are
    analysed; the detections are those of the whole cascade.

    Args:
        model: the detector, stock or FFC.
        class_names: of the K foreground classes, for the gallery.
        gallery: see :class:`Analysis`.

    Raises:
        ValueError: the box head has no background class (``USE_SIGMOID_CE``): its proposals are not decided on.
    """

    def __init__(self, model: GeneralizedRCNN, class_names: list[str], gallery: int = 8):
        predictor = model.roi_heads.box_predictor
        last = predictor[-1] if isinstance(predictor, torch.nn.ModuleList) else predictor
        if last.use_sigmoid_ce:
            raise ValueError(
                "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE: the box head has a probability for each class and none for the "
                "background, so there is no decision for a proposal to analyse"
            )
        analysis = Analysis(last.cls_score, gallery)
        super().__init__(model, analysis.names)
        self.predictor, self.analysis = last, analysis
        self.class_names = [*class_names, "background"]

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> dict[str, list[dict]]:
        with _first_call(self.predictor) as seen:
            detections = super().forward(batched_inputs)
        self.analysis.images += len(batched_inputs)
        if "proposals" in seen:
            boxes = [each.proposal_boxes for each in seen["proposals"]]
            sizes = [len(each) for each in boxes]
            for one, image_boxes, features in zip(batched_inputs, boxes, seen["features"].split(sizes), strict=True):
                self._add(one, image_boxes, features)
        return detections

    def _add(self, one: dict, boxes: Boxes, features: Tensor) -> None:
        analysis, layer = self.analysis, self.predictor.cls_score
        if analysis.is_ffc:
            stages, outputs = layer.stages(features), layer.outputs(features)
            with reduced(layer, "mean"):
                mean = layer(features)
            voted, winner = vote(outputs, -1)
            analysis.activity.update(active_units(stages, -1, layer.interpolate))
            rows = [*outputs, mean, voted]
        else:
            analysis.activity.update(active_units([features], -1, False))
            rows = [layer(features)]
        truth = match_truth(boxes, one, len(self.class_names) - 1)
        labels, confidences = zip(*(elect(logits[None], 2)[1:] for logits in rows), strict=True)
        for name, logits, label, confidence in zip(analysis.names, rows, labels, confidences, strict=True):
            right = logits.float().softmax(1).gather(1, truth.clamp(min=0)[:, None])[:, 0]
            analysis.decisions[name].update(label, confidence, right, truth, labels[0])
        if analysis.is_ffc:
            analysis.election.update(torch.stack(labels[:-2]), winner, labels[-1], truth)
            self._offer(one, boxes, truth, labels, confidences)

    def _offer(self, one: dict, boxes: Boxes, truth: Tensor, labels: tuple, confidences: tuple) -> None:
        first, vote = labels[0], labels[-1]
        known = truth != NONE
        fixed = known & (vote == truth) & (first != truth)
        broken = known & (vote != truth) & (first == truth)

        def describe() -> dict:
            scale_x, scale_y = _input_scale(one)
            own = boxes.clone()
            own.scale(1 / scale_x, 1 / scale_y)
            shown = (fixed | broken).nonzero()[:, 0]
            shown = shown[confidences[-1][shown].argsort(descending=True, stable=True)][:SHOWN_BOXES]
            return {
                "image": one.get("file_name"),
                "image_id": one.get("image_id"),
                "height": one["height"],
                "width": one["width"],
                "boxes": [
                    {
                        "box": [round(value, 2) for value in own.tensor[i].tolist()],
                        "kind": "fixed" if fixed[i] else "broken",
                        "before": self.class_names[first[i]],
                        "after": self.class_names[vote[i]],
                        "truth": self.class_names[truth[i]],
                        "before_confidence": round(float(confidences[0][i]), 4),
                        "after_confidence": round(float(confidences[-1][i]), 4),
                    }
                    for i in shown.tolist()
                ],
            }

        self.analysis.gallery.offer(int(fixed.sum()), int(broken.sum()), describe)


def match_truth(boxes: Boxes, one: dict, background: int) -> Tensor:
    """The class of each proposal by the ground truth, int64 (R,).

    A proposal has the class of the box with which it overlaps most, if the IoU is at least 0.5, else ``background``.
    NONE: it is background and at least half of it lies in a crowd region, or the image has no ground truth.

    So does detectron2 label proposals in training, except that it has no NONE, and that the later stages of a cascade
    ask for an IoU of 0.6 and 0.7 (``MODEL.ROI_BOX_CASCADE_HEAD.IOUS``). They too are analysed at 0.5, like every other
    box head.

    Args:
        boxes: R proposals on the model's input image.
        one: detectron2's input dict with ``annotations`` (None: no ground truth).
    """
    truth = torch.full((len(boxes),), background, device=boxes.device)
    annotations = one["annotations"]
    if annotations is None:
        return truth.fill_(NONE)
    crowds = _boxes([each for each in annotations if each.get("iscrowd", 0)], one, boxes.device)
    objects = [each for each in annotations if not each.get("iscrowd", 0)]
    if len(boxes) and len(crowds):
        truth[(pairwise_ioa(crowds, boxes) >= MATCHING_IOU).any(0)] = NONE
    if len(boxes) and objects:
        overlap, match = pairwise_iou(_boxes(objects, one, boxes.device), boxes).max(0)
        classes = torch.tensor([each["category_id"] for each in objects], device=boxes.device)
        truth = torch.where(overlap >= MATCHING_IOU, classes[match], truth)
    return truth


def _boxes(annotations: list[dict], one: dict, device: torch.device) -> Boxes:
    """The boxes of annotations, on the model's input image."""
    corners = [BoxMode.convert(each["bbox"], each["bbox_mode"], BoxMode.XYXY_ABS) for each in annotations]
    boxes = Boxes(torch.tensor(corners, dtype=torch.float32, device=device).reshape(-1, 4))
    boxes.scale(*_input_scale(one))
    return boxes


def _input_scale(one: dict) -> tuple[float, float]:
    """(x, y): the size of the model's input image over that of the dataset's image."""
    height, width = one["image"].shape[-2:]
    return width / one["width"], height / one["height"]


@contextmanager
def _first_call(predictor: torch.nn.Module) -> Iterator[dict]:
    """Within the context, note the box features (all proposals, C) and the proposals that ``predictor`` gets first."""
    seen: dict = {}

    def note_features(_, args) -> None:
        seen.setdefault("features", args[0].flatten(1))

    def note_proposals(predict_boxes, predictions, proposals):
        seen.setdefault("proposals", proposals)
        return predict_boxes(predictions, proposals)

    handle = predictor.register_forward_pre_hook(note_features)
    with handle, patch.object(predictor, "predict_boxes", partial(note_proposals, predictor.predict_boxes)):
        yield seen
