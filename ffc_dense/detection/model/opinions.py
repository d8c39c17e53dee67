"""What the outputs said of each detection, kept through NMS.

Shape shorthand: R boxes of all images before NMS, D detections of one image after it, K foreground classes (the
background is class K), M outputs.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from detectron2.structures import Instances
from torch import Tensor

from ...method.voting import elect
from ..inputs.architectures import has_roi_heads

VOTE_FIELDS = ("vote_count", "elected_class", "class_votes", "winning_output", "winning_confidence", "num_outputs")
OPINION_FIELDS = ("pred_class_probs", *VOTE_FIELDS)
FFC_TWINS = {
    name: f"FFC{name}" for name in ("StandardROIHeads", "Res5ROIHeads", "Res5Stride1ROIHeads", "CascadeROIHeads")
}


class Opinions:
    """The vote over every box: each output's class and the winning output.

    Args:
        outputs: (M, R, K + 1) logits.
        sigmoid: ``USE_SIGMOID_CE``: the background's logit is not trained and does not take part. With K = 1 an output
            chooses the class where its logit is positive and the background elsewhere.
    """

    def __init__(self, outputs: Tensor, sigmoid: bool):
        logits = outputs[..., :-1] if sigmoid else outputs
        self.winner, self.elected, self.confidence = elect(logits, 2)
        self.choices = torch.stack([elect(output, 2)[1] for output in logits.split(1)])  # (M, R)
        if logits.shape[-1] == 1:  # elect's label is the sign of the logit here: 1, positive, stands for class 0
            self.elected, self.choices = 1 - self.elected, 1 - self.choices

    def attach(self, detections: Instances, rows: Tensor) -> None:
        """Set the ``VOTE_FIELDS`` of ``detections`` (D), which come from the boxes ``rows`` (D,) of R."""
        choices, elected = self.choices[:, rows], self.elected[rows]
        detections.vote_count = (choices == elected).sum(0)
        detections.elected_class = elected
        detections.class_votes = (choices == detections.pred_classes).sum(0)
        detections.winning_output = self.winner[rows] + 1
        detections.winning_confidence = self.confidence[rows]
        detections.num_outputs = torch.full_like(rows, len(choices))


class OpinionatedPredictions(tuple):
    """(scores, deltas), as ``FastRCNNOutputLayers.forward`` returns them, with the votes that led to the scores."""

    opinions: Opinions | None

    def __new__(cls, predictions: Sequence[Tensor], opinions: Opinions | None):
        self = super().__new__(cls, predictions)
        self.opinions = opinions
        return self


def inference_with_opinions(
    predictor: FastRCNNOutputLayers,
    boxes: Sequence[Tensor],
    probabilities: Sequence[Tensor],
    image_shapes: list[tuple[int, int]],
    opinions: Opinions | None,
    proposal_index: bool = False,
) -> tuple[list[Instances], list[Tensor]]:
    """Identical to detectron2's :func:`fast_rcnn_inference`, except that the detections carry their votes.

    Args:
        predictor: its score and NMS thresholds and its limit on detections count.
        boxes: for each image, (Ri, 4K) or (Ri, 4).
        probabilities: for each image, (Ri, K + 1).
        opinions: the votes for the R boxes of all images, in their order; None for a classifier with one output.
        proposal_index: attach a field of that name (D,): from which of the image's Ri rows the box comes, which is the
            index of its proposal.

    Returns:
        instances: with ``pred_class_probs`` (D, K + 1), the row of ``probabilities`` that the box comes from, so that
            ``scores`` is its entry at ``pred_classes``; with votes, the ``VOTE_FIELDS`` (D,) too.
        kept: as in detectron2.
    """
    instances, kept = fast_rcnn_inference(
        list(boxes),
        list(probabilities),
        image_shapes,
        predictor.test_score_thresh,
        predictor.test_nms_thresh,
        predictor.test_topk_per_image,
    )
    first = 0
    for detections, indices, image_boxes, image_probs in zip(instances, kept, boxes, probabilities, strict=True):
        # detectron2 drops the boxes that are not finite first; its indices count the others.
        finite = torch.isfinite(image_boxes).all(1) & torch.isfinite(image_probs).all(1)
        rows = finite.nonzero().squeeze(1)[indices]
        detections.pred_class_probs = image_probs[rows]
        if proposal_index:
            detections.proposal_index = rows
        if opinions is not None:
            opinions.attach(detections, first + rows)
        first += len(image_probs)
    return instances, kept


def has_opinions(cfg: CfgNode) -> bool:
    """Whether :func:`request_opinions` takes ``cfg``."""
    return has_roi_heads(cfg) and cfg.MODEL.ROI_HEADS.NAME in (*FFC_TWINS, *FFC_TWINS.values())


def request_opinions(cfg: CfgNode) -> None:
    """Make the detector of ``cfg`` report the votes of its outputs; its detections stay the same.

    Stock ROI heads become FFC heads without filters: the same network with the same parameter names. They report the
    class distribution.

    Raises:
        ValueError: ROI heads of another class, or none.
    """
    name = cfg.MODEL.ROI_HEADS.NAME
    if not has_roi_heads(cfg):
        raise ValueError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} has no ROI heads, whose classifier reports votes"
        )
    if name in FFC_TWINS:
        cfg.MODEL.ROI_HEADS.NAME = FFC_TWINS[name]
        cfg.MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS = 0
        cfg.MODEL.ROI_BOX_HEAD.FFC.NORMALIZE_INPUT = False
    elif name not in FFC_TWINS.values():
        known = ", ".join([*FFC_TWINS, *FFC_TWINS.values()])
        raise ValueError(f"MODEL.ROI_HEADS.NAME {name}: votes are reported by {known} only")
    cfg.MODEL.ROI_BOX_HEAD.FFC.OPINIONS = True
