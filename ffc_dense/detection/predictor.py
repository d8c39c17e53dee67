import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers

from ..layers import FFCLinear
from ..voting import vote


class FFCFastRCNNOutputLayers(FastRCNNOutputLayers):
    """Identical to :class:`FastRCNNOutputLayers`, except that ``cls_score`` is an :class:`ffc_dense.FFCLinear`.

    ``forward`` still returns (R, K + 1) scores and (R, 4K) or (R, 4) deltas; at test time the scores are the logits
    of the output that won the vote. Box regression stays on the raw feature: the paper modifies the classifier only
    (section 4.3). With ``use_sigmoid_ce`` the background's logit is not trained, so the foreground classes alone are
    voted on. With the same random seed ``cls_score.weight`` and ``bbox_pred`` start as in the stock class.

    Args:
        input_shape: shape of the box feature, as in the stock class.
        num_filters, interpolate, test_reduce: see :class:`ffc_dense.FFCLinear`.
        **kwargs: those of :class:`FastRCNNOutputLayers`.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_filters: int = 3,
        interpolate: bool = True,
        test_reduce: str = "vote",
        **kwargs,
    ):
        super().__init__(input_shape, **kwargs)
        self.cls_score = FFCLinear.from_layer(
            self.cls_score, num_filters=num_filters, interpolate=interpolate, test_reduce=test_reduce
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Box features (R, C) or (R, C', H, W) -> scores (R, K + 1) and deltas, as in the stock class."""
        votes = not self.cls_score.training and self.cls_score.num_filters > 0 and self.test_reduce == "vote"
        if not (votes and self.use_sigmoid_ce):
            return super().forward(x)
        x = x.flatten(1)
        outputs = self.cls_score.outputs(x)
        _, winner = vote(outputs[..., :-1], -1)
        return outputs[winner, torch.arange(len(x), device=x.device)], self.bbox_pred(x)

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
            "num_filters": ffc.NUM_FILTERS,
            "interpolate": ffc.INTERPOLATE,
            "test_reduce": ffc.TEST_REDUCE,
        }
