from typing import cast

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Instances

from ...method.layers import FFCLinear
from ...method.options import OPTIONS, split, takes_options
from ...method.voting import vote
from .config import key_of
from .opinions import OpinionatedPredictions, Opinions, inference_with_opinions


class FFCFastRCNNOutputLayers(FastRCNNOutputLayers):
    """Identical to :class:`FastRCNNOutputLayers`, except that ``cls_score`` is an :class:`ffc_dense.FFCLinear`.

    ``forward`` still returns (R, K + 1) scores and (R, 4K) or (R, 4) deltas; at test time the scores are the logits
    of the output that won the vote. The paper does not say what the score of a box is; no other rule was better
    than the winner's softmax (docs/background/evidence.md). Box regression stays on the raw feature: the paper
    modifies the classifier only (section 4.3). With ``use_sigmoid_ce`` the background's logit is not trained, so
    the foreground classes alone are voted on. With the same random seed ``cls_score.weight`` and ``bbox_pred``
    start as in the stock class.

    Args:
        input_shape: shape of the box feature, as in the stock class.
        opinions: whether detections carry the votes of the outputs, see :meth:`inference`. May be set at any time.
            Detections of a cascade do with :class:`FFCCascadeROIHeads`, not with detectron2's ``CascadeROIHeads``.
        **kwargs: the options of :class:`ffc_dense.FFCLinear`, and the arguments of :class:`FastRCNNOutputLayers`.

    Attributes:
        proposal_index: whether detections with votes also carry ``proposal_index`` (D,), which of their image's
            proposals, in a cascade those of the last stage, each comes from. False; may be set at any time.
    """

    cls_score: FFCLinear
    proposal_index = False

    @configurable
    @takes_options
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        opinions: bool = False,
        **kwargs,
    ):
        options, kwargs = split(kwargs)
        super().__init__(input_shape, **kwargs)
        self.cls_score = FFCLinear.from_layer(self.cls_score, **options)
        self.opinions = opinions

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Box features (R, C) or (R, C', H, W) -> scores (R, K + 1) and deltas, as in the stock class."""
        self._check_inference()
        x = x.flatten(1)
        predictions = self._reduced(x)
        if self.training or not self.opinions:
            return predictions
        several = self.cls_score.num_outputs > 1
        opinions = Opinions(self.cls_score.outputs(x), self.use_sigmoid_ce) if several else None
        return OpinionatedPredictions(predictions, opinions)

    def _check_inference(self) -> None:
        """Raise a TypeError if detectron2's Caffe2 export put its own box inference in the place of this class's."""
        # It does so with an attribute of the object or, while it traces, with a mock in the class.
        if "inference" in vars(self) or hasattr(type(self).inference, "mock"):
            raise TypeError(
                f"{type(self).__name__}.inference was replaced, as detectron2's Caffe2 export does with one that knows "
                "no FFC: use tools/export_model.py --format onnx"
            )

    def _reduced(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        votes = not self.cls_score.training and self.cls_score.num_filters > 0 and self.test_reduce == "vote"
        if not (votes and self.use_sigmoid_ce):
            return super().forward(x)
        outputs = self.cls_score.outputs(x)
        _, winner = vote(outputs[..., :-1], -1)
        return outputs[winner, torch.arange(len(x), device=x.device)], self.bbox_pred(x)

    def inference(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """Identical to the stock method, except that with ``opinions`` each image's D detections have more fields.

        ``pred_class_probs`` (D, K + 1) is the distribution that ``scores`` was taken from, the background last. The
        others (D,) tell of the vote, whatever ``test_reduce`` is; a classifier with one output has none:
        ``elected_class``, K for the background; ``vote_count``, the outputs that chose it; ``class_votes``, the outputs
        that chose the detection's own class, ``pred_classes``; ``winning_output``, 1 for Out1; ``winning_confidence``,
        its softmax at the class that won; ``num_outputs``, M. One box may give detections of several classes: they
        share the vote, in which the background may have won.
        """
        if not self.opinions:
            return super().inference(predictions, proposals)
        boxes, probabilities = self.predict_boxes(predictions, proposals), self.predict_probs(predictions, proposals)
        image_shapes = [proposal.image_size for proposal in proposals]
        said = cast(OpinionatedPredictions, predictions).opinions
        return inference_with_opinions(self, boxes, probabilities, image_shapes, said, self.proposal_index)

    @property
    def test_reduce(self) -> str:
        """That of ``cls_score``: 'vote', 'mean' or a single output, 'out1' ... 'outM'. May be set at any time."""
        return self.cls_score.test_reduce

    @test_reduce.setter
    def test_reduce(self, name: str) -> None:
        self.cls_score.test_reduce = name

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        if "FFC" not in cfg.MODEL.ROI_BOX_HEAD:
            raise KeyError(
                "MODEL.ROI_BOX_HEAD.FFC is not in the config: call ffc_dense.detection.add_ffc_config(cfg) "
                "after get_cfg() and before merging a config file"
            )
        ffc = cfg.MODEL.ROI_BOX_HEAD.FFC
        return {
            **super().from_config(cfg, input_shape),
            **{name: ffc[key_of(name)] for name in OPTIONS if key_of(name) in ffc},
            "opinions": ffc.OPINIONS,
        }
