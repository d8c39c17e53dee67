"""Several detectors that detect as one (paper section 4.6, Table 7).

Shape shorthand: P members, R pooled proposals of all images, K foreground classes, M the outputs of all members
together.
"""

import math
from collections.abc import Sequence

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, ROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Instances
from torch import Tensor, nn

from ...method.layers import FFCLinear
from ...method.reductions import STOCK, reduced
from ...method.voting import vote
from ..model.opinions import Opinions, inference_with_opinions

REDUCTIONS = ("vote", "mean")


class DetectorEnsemble(nn.Module):
    """P two-stage detectors whose outputs classify every box together. For prediction only.

    The paper ensembles image classifiers: two models that classify the same image. Here the members classify the same
    boxes, as in the ensembles of He et al. (Deep Residual Learning for Image Recognition, 2016, appendix on object
    detection): the union of the members' proposals goes through every member's box head. Then

    - 'vote': the outputs of all members, M together, vote as those of one model do; 'mean': their logits are averaged.
      A stock member takes part with its one output.
    - a box is the average of the boxes that the members predict for its proposal, class by class. A cascade's stages
      are ensembled one by one: each refines the average box of the one before.
    - masks are the average of the members' mask probabilities in the final boxes.

    One member gives what it gives alone; so do copies of it, from three on up to rounding. Thresholds and limits on
    detections are those of the first member.

    Args:
        members: detectors in eval mode, which read the same inputs.
        names: of the test modes, 'vote' and 'mean'.
        opinions: whether detections carry the votes of the M outputs, see :meth:`FFCFastRCNNOutputLayers.inference`;
            ``winning_output`` counts through the members in order.

    Raises:
        ValueError: no member, an unknown test mode, or the members do not fit together; the message says in what.
    """

    def __init__(self, members: Sequence[GeneralizedRCNN], names: Sequence[str] = REDUCTIONS, opinions: bool = False):
        super().__init__()
        unknown = [name for name in names if name not in REDUCTIONS]
        if unknown:
            raise ValueError(f"an ensemble has the test modes {', '.join(REDUCTIONS)}, got {', '.join(unknown)}")
        _check(members)
        self.members = nn.ModuleList(members)
        self.names, self.opinions = list(names), opinions

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> dict[str, list[dict]]:
        """detectron2's inputs -> {reduction: [{"instances": ...}]}, as :class:`AllReductions` answers."""
        images = [member.preprocess_image(batched_inputs) for member in self.members]
        features = [member.backbone(image.tensor) for member, image in zip(self.members, images, strict=True)]
        proposals = pool_proposals(
            [
                member.proposal_generator(image, feature, None)[0]
                for member, image, feature in zip(self.members, images, features, strict=True)
            ]
        )
        boxes, probabilities, opinions = self._box_stages(features, proposals)
        first = _predictors(self.members[0].roi_heads)[-1]
        image_sizes = images[0].image_sizes
        detections = {}
        for name in self.names:
            instances, _ = inference_with_opinions(first, boxes, probabilities[name], image_sizes, opinions)
            if not self.opinions:
                for found in instances:
                    found.remove("pred_class_probs")
            instances = self._with_masks(features, instances)
            detections[name] = GeneralizedRCNN._postprocess(instances, batched_inputs, image_sizes)
        return detections

    def _box_stages(
        self, features: list[dict[str, Tensor]], proposals: list[Instances]
    ) -> tuple[list[Tensor], dict[str, list[Tensor]], Opinions | None]:
        """The boxes of the last stage, the probabilities averaged over the stages, the last stage's votes."""
        heads = [member.roi_heads for member in self.members]
        stages = list(zip(*map(_predictors, heads), strict=True))
        image_sizes = [proposal.image_size for proposal in proposals]
        per_stage = {name: [] for name in self.names}
        for stage, predictors in enumerate(stages):
            inputs = [
                _box_features(head, feature, proposals, stage) for head, feature in zip(heads, features, strict=True)
            ]
            outputs = torch.cat([_outputs(predictor, x) for predictor, x in zip(predictors, inputs, strict=True)])
            first, sigmoid = predictors[0], predictors[0].use_sigmoid_ce
            for name in self.names:
                logits = _voted(outputs, sigmoid) if name == "vote" else _mean(predictors, inputs)
                per_stage[name].append(first.predict_probs((logits, None), proposals))
            of_members = [
                predictor.predict_boxes((None, predictor.bbox_pred(x)), proposals)
                for predictor, x in zip(predictors, inputs, strict=True)
            ]
            boxes = [sum(of_image) / len(of_image) for of_image in zip(*of_members, strict=True)]
            if stage + 1 < len(stages):
                proposals = heads[0]._create_proposals_from_boxes(boxes, image_sizes)
        probabilities = {
            name: [sum(of_image) * (1.0 / len(stages)) for of_image in zip(*found, strict=True)]
            for name, found in per_stage.items()
        }
        opinions = Opinions(outputs, sigmoid) if self.opinions and len(outputs) > 1 else None
        return boxes, probabilities, opinions

    def _with_masks(self, features: list[dict[str, Tensor]], instances: list[Instances]) -> list[Instances]:
        if not self.members[0].roi_heads.mask_on:
            return instances
        masks = []
        for member, feature in zip(self.members, features, strict=True):
            own = [Instances(found.image_size, **found.get_fields()) for found in instances]
            masks.append([found.pred_masks for found in member.roi_heads.forward_with_given_boxes(feature, own)])
        for found, of_image in zip(instances, zip(*masks, strict=True), strict=True):
            found.pred_masks = sum(of_image) / len(of_image)
        return instances


def pool_proposals(of_members: Sequence[list[Instances]]) -> list[Instances]:
    """The union of the members' proposals, image by image: of equal boxes, only those of the earliest member stay."""
    pooled = []
    for union, *others in zip(*of_members, strict=True):
        for other in others:
            differs = other.proposal_boxes.tensor[:, None] != union.proposal_boxes.tensor
            union = Instances.cat([union, other[differs.any(-1).all(1)]])
        pooled.append(union)
    return pooled


def _check(members: Sequence[GeneralizedRCNN]) -> None:
    if not members:
        raise ValueError("an ensemble needs at least one detector")
    for number, member in enumerate(members, start=1):
        heads = getattr(member, "roi_heads", None)
        if not isinstance(heads, StandardROIHeads | Res5ROIHeads):
            raise ValueError(f"detector {number} has no Standard, Cascade or Res5 ROI heads: it cannot be ensembled")
        if member.proposal_generator is None or getattr(heads, "keypoint_on", False):
            raise ValueError(
                f"detector {number}: precomputed proposals and keypoints cannot be ensembled; name detectors with RPN "
                "and MODEL.KEYPOINT_ON False"
            )
    expected = _traits(members[0])
    for number, member in enumerate(members[1:], start=2):
        for trait, value in _traits(member).items():
            if value != expected[trait]:
                raise ValueError(f"detectors 1 and {number} differ in {trait}: {expected[trait]} and {value}")


def _traits(member: GeneralizedRCNN) -> dict[str, object]:
    """What the members of an ensemble must share."""
    predictors = _predictors(member.roi_heads)
    return {
        "the number of classes": predictors[0].num_classes,
        "the number of cascade stages": len(predictors),
        "USE_SIGMOID_CE": predictors[0].use_sigmoid_ce,
        "CLS_AGNOSTIC_BBOX_REG": [predictor.bbox_pred.out_features for predictor in predictors],
        "MASK_ON": bool(member.roi_heads.mask_on),
        "INPUT.FORMAT": member.input_format,
    }


def _predictors(heads: ROIHeads) -> list[FastRCNNOutputLayers]:
    """One per stage."""
    return list(heads.box_predictor) if isinstance(heads, CascadeROIHeads) else [heads.box_predictor]


def _box_features(heads: ROIHeads, features: dict[str, Tensor], proposals: list[Instances], stage: int) -> Tensor:
    """What the predictor of ``stage`` gets: (R, C)."""
    boxes = [proposal.proposal_boxes for proposal in proposals]
    if isinstance(heads, Res5ROIHeads):
        return heads._shared_roi_transform([features[name] for name in heads.in_features], boxes).mean(dim=[2, 3])
    pooled = heads.box_pooler([features[name] for name in heads.box_in_features], boxes)
    head = heads.box_head[stage] if isinstance(heads, CascadeROIHeads) else heads.box_head
    return head(pooled).flatten(1)


def _outputs(predictor: FastRCNNOutputLayers, x: Tensor) -> Tensor:
    """(R, C) -> the logits of a member's outputs, (Mi, R, K + 1)."""
    classifier = predictor.cls_score
    return classifier.outputs(x) if isinstance(classifier, FFCLinear) else classifier(x)[None]


def _voted(outputs: Tensor, sigmoid: bool) -> Tensor:
    """(M, R, K + 1) -> the winner's logits (R, K + 1); with ``sigmoid`` the background takes no part."""
    _, winner = vote(outputs[..., :-1] if sigmoid else outputs, -1)
    return outputs[winner, torch.arange(outputs.shape[1], device=outputs.device)]


def _mean(predictors: Sequence[FastRCNNOutputLayers], inputs: Sequence[Tensor]) -> Tensor:
    """The mean over the outputs of all members (R, K + 1), from each member's own mean."""
    numbers, means = [], []
    for predictor, x in zip(predictors, inputs, strict=True):
        classifier = predictor.cls_score
        ffc = isinstance(classifier, FFCLinear)
        with reduced(classifier, "mean" if ffc else STOCK):
            means.append(classifier(x))
        numbers.append(classifier.num_outputs if ffc else 1)
    shares = [number // math.gcd(*numbers) for number in numbers]  # 1 each for equal members: two copies change no bit
    return sum(mean * share for mean, share in zip(means, shares, strict=True)) / sum(shares)
