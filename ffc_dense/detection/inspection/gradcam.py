"""Grad-CAM of the outputs of a detector's box classifier.

The map that is explained is the one that the box was pooled from: the backbone's level to which the pooler assigns the
proposal (an FPN level), or the only one (res4 of a C4 model). The gradient of the logit goes back through the box head
and RoIAlign onto it. Proposals and box regression are fixed: they are another branch, and what moves a box is not what
names it. A deeper map, such as the pooled 7 x 7 feature, would say less about places; an earlier one would mix in the
other levels. RoIAlign reads nothing outside of the proposal, so the map is cut there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ...inspection.gradcam.figure import Picture
from ...inspection.gradcam.maps import Head, choose_outputs, explain
from ..model.roi_heads import FFCCascadeROIHeads
from .detector import Detector, as_array, network_input

MARGIN = 0.3  # of the box's longer side, around it in the panels of maps


class BoxExplainer:
    """Explains the detections of a :class:`Detector` without masks and keypoints.

    Args:
        detector: stock or FFC, with ``opinions``. Its parameters no longer require gradients afterwards.

    Raises:
        ValueError: ROI heads of a class whose way from a level to the classifier is not known, or a detector without
            opinions, whose detections do not name their proposals.
    """

    def __init__(self, detector: Detector):
        self.detector, self.heads = detector, detector.model.roi_heads
        if not isinstance(self.heads, StandardROIHeads | Res5ROIHeads):
            raise ValueError(
                f"MODEL.ROI_HEADS.NAME {type(self.heads).__name__}: Grad-CAM knows StandardROIHeads, CascadeROIHeads, "
                "Res5ROIHeads and their subclasses"
            )
        cascade = isinstance(self.heads, CascadeROIHeads)
        # Of a cascade the last stage: its proposals are the ones that the detections come from.
        self.predictor = self.heads.box_predictor[-1] if cascade else self.heads.box_predictor
        # The stock cascade drops the indices of the boxes, whatever its predictors do.
        drops_them = cascade and not isinstance(self.heads, FFCCascadeROIHeads)
        if drops_them or not getattr(self.predictor, "opinions", False):
            raise ValueError(
                "the detections do not tell which proposals they come from: build the Detector with opinions=True"
            )
        kept = self.heads.num_classes if self.predictor.use_sigmoid_ce else None
        detector.model.requires_grad_(False)  # only the gradient of the map is needed
        # Without a dataset in the config, classes have numbers for names; "7 82 %" would be hard to read.
        names = [f"class {name}" if name.isdigit() else name for name in detector.metadata.thing_classes]
        self.names = [*names, "background"]
        self.head = Head(self.predictor.cls_score, kept)
        self.levels = self.heads.in_features if isinstance(self.heads, Res5ROIHeads) else self.heads.box_in_features
        self.pooler = self.heads.pooler if isinstance(self.heads, Res5ROIHeads) else self.heads.box_pooler

    def __call__(
        self, image: str | Path | np.ndarray, outputs: list[int] | None = None, target: str | int | None = None,
        limit: int = 3,
    ) -> list[Picture]:  # fmt: skip
        """The figures of the ``limit`` detections of highest score; none without detections.

        Args:
            image: a file, or (H0, W0, 3) uint8, BGR.
            outputs: from 1; see :func:`choose_outputs`.
            target: None: each map is of its output's own class; 'vote': of the detection's; or a class's label.

        Raises:
            UnreadableError: the file cannot be decoded, or the image is too narrow to be resized.
            ChoiceError: (a ValueError) an output is not there.
        """
        image = as_array(image)
        outputs = choose_outputs(self.head, outputs)
        features, detections, rows = self._detect(image)
        return [
            self._explain(image, features, detections[i : i + 1], rows[i : i + 1], outputs, target)
            for i in detections.scores.argsort(descending=True, stable=True)[:limit].tolist()
        ]

    @torch.no_grad()
    def _detect(self, image: np.ndarray) -> tuple[dict[str, Tensor], Instances, Tensor]:
        """The backbone's levels, the D detections and their proposals (D, 4), both on the model's input."""
        model = self.detector.model
        resized = network_input(image, self.detector.aug, self.detector.input_format)
        inputs = model.preprocess_image([{"image": resized}])
        features = model.backbone(inputs.tensor)
        proposals, _ = model.proposal_generator(inputs, features, None)
        with _telling_proposals(self.predictor) as seen:
            (detections,), _ = model.roi_heads(inputs, features, proposals, None)
        return features, detections, seen[0].proposal_boxes.tensor[detections.proposal_index]

    def _explain(self, image, features, detection: Instances, proposal: Tensor, outputs: list[int], target) -> Picture:
        boxes = [Boxes(proposal)]
        pooler, level = self.pooler, 0
        if len(self.levels) > 1:
            canonical = pooler.canonical_box_size, pooler.canonical_level
            level = int(assign_boxes_to_levels(boxes, pooler.min_level, pooler.max_level, *canonical))

        def rest(feature: Tensor) -> Tensor:
            maps = [features[name] for name in self.levels]
            maps[level] = feature
            if isinstance(self.heads, Res5ROIHeads):
                return self.heads._shared_roi_transform(maps, boxes).mean(dim=(2, 3))
            box_head = self.heads.box_head
            return (box_head[-1] if isinstance(box_head, nn.ModuleList) else box_head)(pooler(maps, boxes)).flatten(1)

        self.head.rest = rest
        label, score = int(detection.pred_classes), float(detection.scores)
        chosen = label if target == "vote" else target
        found = explain(self.head, features[self.levels[level]], torch.ones(1, 1), outputs, chosen)
        size = detection.image_size
        to_image = np.array([image.shape[1] / size[1], image.shape[0] / size[0]] * 2)
        stride = self.detector.model.backbone.output_shape()[self.levels[level]].stride
        pooled = _inside(proposal[0].cpu().numpy() * to_image, image.shape[:2])
        shown = [replace(each, map=np.where(pooled, _on_image(each.map, stride, size, image.shape[:2]), 0))
                 for each in found]  # fmt: skip
        box = detection.pred_boxes.tensor[0].cpu().numpy() * to_image
        return Picture(
            image=np.ascontiguousarray(image[:, :, ::-1]),
            region=_inside(box, image.shape[:2]),
            window=_window(box, proposal[0].cpu().numpy() * to_image, image.shape[:2]),
            title=f"detection: {self.names[label]} {100 * score:.0f} %",
            outputs=shown,
            names=self.names,
            note=f"gradient of the class's logit at {self.levels[level]}, within the proposal; box outlined",
        )


@contextmanager
def _telling_proposals(predictor: nn.Module) -> Iterator[list[Instances]]:
    """Within the context, detections have their ``proposal_index``, which counts the proposals that are noted here:
    those that ``predictor`` gives boxes for. The last stage of a cascade has its own, and nothing returns them."""
    seen: list[Instances] = []
    predict_boxes = predictor.predict_boxes

    def noting(predictions, proposals):
        seen.extend(proposals)
        return predict_boxes(predictions, proposals)

    predictor.predict_boxes, predictor.proposal_index = noting, True
    try:
        yield seen
    finally:
        del predictor.predict_boxes, predictor.proposal_index


def _on_image(map_: np.ndarray, stride: int, size: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """A level's map on the image of ``shape``: the level covers the padded input, of which ``size`` is the image."""
    height, width = map_.shape
    full = cv2.resize(map_, (width * stride, height * stride), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(full[: size[0], : size[1]], shape[::-1], interpolation=cv2.INTER_LINEAR)


def _inside(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of a box as a (H, W) mask; at least one."""
    left, top, right, bottom = _whole(box, shape)
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def _whole(box: np.ndarray, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    height, width = shape
    left, top = int(np.clip(np.floor(box[0]), 0, width - 1)), int(np.clip(np.floor(box[1]), 0, height - 1))
    return left, top, max(left + 1, min(width, int(np.ceil(box[2])))), max(top + 1, min(height, int(np.ceil(box[3]))))


def _window(box: np.ndarray, proposal: np.ndarray, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    both = np.concatenate([np.minimum(box, proposal)[:2], np.maximum(box, proposal)[2:]])
    margin = MARGIN * max(both[2] - both[0], both[3] - both[1])
    return _whole(both + np.array([-margin, -margin, margin, margin]), shape)
