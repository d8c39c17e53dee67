"""A small Faster R-CNN whose box classifier is one of the variants."""

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, ResNet
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from torch import Tensor, nn

from ffc_dense.detection import FFCFastRCNNOutputLayers
from ffc_dense.detection.model.roi_heads import FFCStandardROIHeads

from .plan import HEADS
from .variants import Variant, VariantLinear


@BACKBONE_REGISTRY.register()
def build_narrow_resnet18_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet-18 with FPN, with ``RES2_OUT_CHANNELS`` channels in stem and res2; detectron2's own has 64, always."""
    width, norm = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS, cfg.MODEL.RESNETS.NORM
    stages, channels = [], width
    for i in range(4):
        strides = [1 if i == 0 else 2, 1]
        stage = ResNet.make_stage(
            BasicBlock, 2, stride_per_block=strides, in_channels=channels, out_channels=width * 2**i, norm=norm
        )
        stages.append(stage)
        channels = width * 2**i
    names = cfg.MODEL.FPN.IN_FEATURES
    bottom_up = ResNet(BasicStem(input_shape.channels, width, norm), stages, out_features=names)
    return FPN(bottom_up, names, cfg.MODEL.FPN.OUT_CHANNELS, top_block=LastLevelMaxPool())


class VariantOutputLayers(FFCFastRCNNOutputLayers):
    """Identical to :class:`FFCFastRCNNOutputLayers`, except that ``cls_score`` is a :class:`VariantLinear`."""

    def use(self, variant: Variant, stock: FastRCNNOutputLayers) -> None:
        self.cls_score = VariantLinear.from_layer(stock.cls_score, variant)
        self.bbox_pred = stock.bbox_pred
        self.every_output = variant.every_output

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.training and self.every_output):
            return super().forward(x)
        x = x.flatten(1)
        return self.cls_score.outputs(x), self.bbox_pred(x)

    def losses(self, predictions: tuple[Tensor, Tensor], proposals: list) -> dict[str, Tensor]:
        scores, deltas = predictions
        if not self.every_output:
            return super().losses(predictions, proposals)
        losses = super().losses((scores.mean(0), deltas), proposals)
        labels = torch.cat([p.gt_classes for p in proposals])
        each = nn.functional.cross_entropy(scores.flatten(0, 1), labels.repeat(len(scores)))
        return {**losses, "loss_cls": each * self.loss_weight.get("loss_cls", 1.0)}


@ROI_HEADS_REGISTRY.register()
class EvidenceROIHeads(FFCStandardROIHeads):
    """Identical to :class:`StandardROIHeads`, except that ``MODEL.ROI_BOX_HEAD.EVIDENCE`` names the head in HEADS."""

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        ret = super(FFCStandardROIHeads, cls)._init_box_head(cfg, input_shape)
        stock = ret["box_predictor"]
        head = HEADS[cfg.MODEL.ROI_BOX_HEAD.EVIDENCE]
        with torch.no_grad():
            stock.cls_score.weight *= head.classifier_init
        if head.variant is not None:
            shape = ShapeSpec(channels=stock.cls_score.in_features)
            with torch.random.fork_rng(devices=[]):  # every other layer starts as in the stock model
                ret["box_predictor"] = VariantOutputLayers(cfg, shape, box2box_transform=stock.box2box_transform)
            ret["box_predictor"].use(head.variant, stock)
        return ret
