"""detectron2's box inference without branches on data, which torch.export cannot record.

For one image. The functions stand in for the stock ones of the same name while a detector is recorded; the stock ones
skip a step when nothing would change (no box is empty, all numbers are finite), these always take it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from detectron2.export.torchscript_patch import patch_builtin_len
from detectron2.modeling import poolers
from detectron2.modeling.proposal_generator import rpn
from detectron2.modeling.roi_heads import fast_rcnn
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import nms


@contextmanager
def branch_free() -> Iterator[None]:
    """Within the context detectron2's RPN, ROI pooler and box inference take one image and do not branch on data."""
    with ExitStack() as stack:
        for module, function in (
            (rpn, find_top_rpn_proposals),
            (fast_rcnn, fast_rcnn_inference_single_image),
            (poolers, convert_boxes_to_pooler_format),
        ):
            stack.enter_context(mock.patch.object(module, function.__name__, function))
        stack.enter_context(patch_builtin_len(["detectron2.structures.instances"]))  # len() requires a known number
        yield


def find_top_rpn_proposals(
    proposals, pred_objectness_logits, image_sizes, nms_thresh, pre_nms_topk, post_nms_topk, min_box_size, training
) -> list[Instances]:
    """Arguments and result as of the stock function."""
    scores, boxes, levels = [], [], []
    for level, (anchors, logits) in enumerate(zip(proposals, pred_objectness_logits, strict=True)):
        top, index = logits[0].topk(torch.sym_min(logits.shape[1], pre_nms_topk))
        scores.append(top)
        boxes.append(anchors[0][index])
        levels.append(torch.full_like(index, level))
    scores, boxes, levels = torch.cat(scores), torch.cat(boxes), torch.cat(levels)
    finite = boxes.isfinite().all(1) & scores.isfinite()
    boxes = _clipped(torch.where(finite.unsqueeze(1), boxes, 0), image_sizes[0])
    sides = boxes[:, 2:] - boxes[:, :2]
    keep = (finite & (sides > min_box_size).all(1)).nonzero().squeeze(1)
    boxes, scores, levels = boxes[keep], scores[keep], levels[keep]
    keep = _batched_nms(boxes, scores, levels, nms_thresh)[:post_nms_topk]
    return [Instances(image_sizes[0], proposal_boxes=_boxes(boxes[keep]), objectness_logits=scores[keep])]


def fast_rcnn_inference_single_image(boxes, scores, image_shape, score_thresh, nms_thresh, topk_per_image):
    """Arguments and result as of the stock function."""
    finite = boxes.isfinite().all(1) & scores.isfinite().all(1)
    scores = torch.where(finite.unsqueeze(1), scores, 0)[:, :-1]
    boxes = torch.where(finite.unsqueeze(1), boxes, 0)
    per_class = boxes.shape[1] // 4
    boxes = _clipped(boxes.reshape(-1, 4), image_shape).view(-1, per_class, 4)
    row, label = ((scores > score_thresh) & finite.unsqueeze(1)).nonzero().unbind(1)
    boxes, scores = boxes[row, label if per_class > 1 else torch.zeros_like(label)], scores[row, label]
    keep = _batched_nms(boxes, scores, label, nms_thresh)
    if topk_per_image >= 0:
        keep = keep[:topk_per_image]
    found = Instances(image_shape, pred_boxes=_boxes(boxes[keep]), scores=scores[keep], pred_classes=label[keep])
    return found, row[keep]


def convert_boxes_to_pooler_format(box_lists: list[Boxes]) -> Tensor:
    """(R, 5): the index of the image, 0, and the box."""
    return torch.nn.functional.pad(box_lists[0].tensor, (1, 0))


def _batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Indices of the kept boxes, best first. As torchvision traces it: each group is moved to a place of its own.

    torchvision tells torch.export that NMS keeps two boxes at least. Two that overlap with none and come last make that
    true, and are dropped.
    """
    beyond = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).amax() + 1
    moved = boxes + (groups.to(boxes.dtype) * beyond).unsqueeze(1)
    outside = boxes.new_tensor([[-2.0, -2.0, -1.0, -1.0], [-4.0, -4.0, -3.0, -3.0]])  # the others are clipped
    worst = scores.new_full((2,), -torch.inf)
    keep = nms(torch.cat([moved, outside]), torch.cat([scores, worst]), threshold)
    return keep[(keep < boxes.shape[0]).nonzero().squeeze(1)]


def _boxes(tensor: Tensor) -> Boxes:
    """``Boxes(tensor)``, without the question whether there are any."""
    boxes = Boxes.__new__(Boxes)
    boxes.tensor = tensor
    return boxes


def _clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack((x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)), 1)
