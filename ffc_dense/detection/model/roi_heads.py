"""detectron2's ROI heads name their box predictor in code, not in the config; these heads name the FFC one."""

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Instances
from torch import Tensor, nn

from .opinions import inference_with_opinions
from .predictor import FFCFastRCNNOutputLayers


@ROI_HEADS_REGISTRY.register()
class FFCStandardROIHeads(StandardROIHeads):
    """Identical to :class:`StandardROIHeads`, except that the box predictor is :class:`FFCFastRCNNOutputLayers`."""

    @classmethod
    def _init_box_head(cls, cfg, input_shape):
        ret = super()._init_box_head(cfg, input_shape)
        ret["box_predictor"] = _ffc_predictor(cfg, ret["box_predictor"])
        return ret


@ROI_HEADS_REGISTRY.register()
class FFCRes5ROIHeads(Res5ROIHeads):
    """Identical to :class:`Res5ROIHeads` (C4), except that the box predictor is :class:`FFCFastRCNNOutputLayers`."""

    @classmethod
    def from_config(cls, cfg, input_shape):
        ret = super().from_config(cfg, input_shape)
        ret["box_predictor"] = _ffc_predictor(cfg, ret["box_predictor"])
        return ret


@ROI_HEADS_REGISTRY.register()
class Res5Stride1ROIHeads(Res5ROIHeads):
    """Identical to :class:`Res5ROIHeads`, except that res5 has stride 1, not 2. Same parameters, same names.

    With ``MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION`` 7 it sees each RoI as tf-faster-rcnn does, the code that the paper's
    C4 baselines follow; docs/background/protocols.md compares the two.
    """

    @classmethod
    def _build_res5_block(cls, cfg):
        res5, out_channels = super()._build_res5_block(cfg)
        for layer in res5.modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
        return res5, out_channels


@ROI_HEADS_REGISTRY.register()
class FFCRes5Stride1ROIHeads(FFCRes5ROIHeads, Res5Stride1ROIHeads):
    """Identical to :class:`Res5Stride1ROIHeads`, except that the box predictor is an FFC one."""


@ROI_HEADS_REGISTRY.register()
class FFCCascadeROIHeads(CascadeROIHeads):
    """Identical to :class:`CascadeROIHeads`, except that every stage's predictor is an FFC one, with its own filters.

    The stages' probabilities are averaged as in the stock class, after each stage has voted. With ``opinions``
    the detections' ``pred_class_probs`` is that average, the votes are those of the last stage.
    """

    @classmethod
    def _init_box_head(cls, cfg, input_shape):
        ret = super()._init_box_head(cfg, input_shape)
        ret["box_predictors"] = [_ffc_predictor(cfg, stock) for stock in ret["box_predictors"]]
        return ret

    def _forward_box(self, features: dict[str, Tensor], proposals: list[Instances], targets=None):
        if self.training or not self.box_predictor[-1].opinions:
            return super()._forward_box(features, proposals, targets)
        # The stock method calls fast_rcnn_inference itself and drops the indices of the boxes.
        pooled = [features[name] for name in self.box_in_features]
        image_sizes = [proposal.image_size for proposal in proposals]
        per_stage = []
        for stage, predictor in enumerate(self.box_predictor):
            predictions = self._run_stage(pooled, proposals, stage)
            boxes = predictor.predict_boxes(predictions, proposals)
            per_stage.append(predictor.predict_probs(predictions, proposals))
            proposals = self._create_proposals_from_boxes(boxes, image_sizes)
        averages = [sum(stages) * (1.0 / self.num_cascade_stages) for stages in zip(*per_stage, strict=True)]
        indexed = predictor.proposal_index
        return inference_with_opinions(predictor, boxes, averages, image_sizes, predictions.opinions, indexed)[0]


def _ffc_predictor(cfg: CfgNode, stock: FastRCNNOutputLayers) -> FFCFastRCNNOutputLayers:
    """An FFC predictor that starts with the weights of ``stock``.

    It draws no random number of its own, so that every other layer of a seeded model starts as in the stock model.
    """
    shape = ShapeSpec(channels=stock.cls_score.in_features)
    with torch.random.fork_rng(devices=[]):
        predictor = FFCFastRCNNOutputLayers(cfg, shape, box2box_transform=stock.box2box_transform)
    predictor.cls_score.weight, predictor.cls_score.bias = stock.cls_score.weight, stock.cls_score.bias
    predictor.bbox_pred = stock.bbox_pred
    return predictor
