"""What every FFC decode head adds to its mmseg twin.

Shape shorthand: N images, C channels, K classes (``out_channels``), M outputs, (h, w) the feature's size, (H, W)
the size that the head upsamples to.
"""

from contextvars import ContextVar

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor

from ..layers import FFCConv2d
from ..voting import vote
from .upsampled_vote import comparable, vote_upsampled

VOTE_AT = ("prediction", "feature")

# The head whose predict() runs in this thread and wants every output. Not an attribute of the head: threads share it.
_predicting: ContextVar["FFCDecodeHead | None"] = ContextVar("predicting", default=None)


class FFCDecodeHead:
    """Stands before an mmseg decode head in the bases of an ``FFC*Head``.

    The head is identical to its mmseg twin, except that ``conv_seg`` is an :class:`ffc_dense.FFCConv2d` (after the
    dropout, under the same name) and that ``predict`` lets the outputs vote for every pixel.

    ``forward`` returns a normal (N, K, h, w) map in both modes, for losses, FLOPs counters and export; in eval mode
    its pixels have voted at (h, w) and hold the winners' logits. ``predict``, which segmentors call, upsamples every
    output to (H, W) first and votes there. In a cascade (``FFCOCRHead``), use FFC in the last stage only: the earlier
    ones are asked for ``forward`` and their scale matters to the next stage. Further classifiers of a head (those of
    DAHead's branches, PIDHead's p and d, DDRHead's auxiliary one) stay stock.

    The outputs differ in the scale of their logits. mmseg resizes, averages (slide windows, test-time augmentation)
    what ``predict`` returns, so a voted map is passed on as the winner's log-probabilities, which are comparable from
    pixel to pixel and leave argmax and softmax as they are. A binary head (K = 1) passes on the winner's logit, which
    is comparable already. ``test_reduce='mean'`` and single outputs pass on logits, as the stock head does.

    Args:
        num_filters, interpolate, test_reduce, eps: see :class:`ffc_dense.FFCLinear`.
        vote_at: 'prediction' votes at (H, W), a strip of rows at a time. 'feature' votes at (h, w) and upsamples the
            winners: less work, other label maps near boundaries.
        **kwargs: those of the mmseg head.

    Raises:
        ValueError: an option has no such value; the message lists the valid ones.
    """

    def __init__(
        self,
        *args,
        num_filters: int = 3,
        interpolate: bool = True,
        test_reduce: str = "vote",
        eps: float = 1e-5,
        vote_at: str = "prediction",
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.vote_at = vote_at
        self.conv_seg = FFCConv2d.from_layer(
            self.conv_seg, num_filters=num_filters, interpolate=interpolate, test_reduce=test_reduce, eps=eps
        )

    @property
    def test_reduce(self) -> str:
        """That of ``conv_seg``: 'vote', 'mean' or a single output, 'out1' ... 'outM'. May be set at any time."""
        return self.conv_seg.test_reduce

    @test_reduce.setter
    def test_reduce(self, name: str) -> None:
        self.conv_seg.test_reduce = name

    @property
    def vote_at(self) -> str:
        """'prediction' or 'feature'. May be set at any time."""
        return self._vote_at

    @vote_at.setter
    def vote_at(self, name: str) -> None:
        if name not in VOTE_AT:
            raise ValueError(f"vote_at must be one of {', '.join(map(repr, VOTE_AT))}, got {name!r}")
        self._vote_at = name

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, vote_at={self.vote_at!r}"

    def init_weights(self) -> None:
        """As in the stock head, which starts a seeded model with the same numbers; the filters start at 1 and 0.

        mmengine applies an ``init_cfg`` override such as ``Normal`` on ``conv_seg`` to all of its children; the
        filters are shielded from it. Those that a checkpoint (``Pretrained``) brings are kept.
        """
        filters = self.conv_seg.filters
        if not self.is_init:
            filters.reset_parameters()
        filters.apply = lambda initialize: filters
        try:
            super().init_weights()
        finally:
            del filters.apply

    def cls_seg(self, feat: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, K, h, w) logits; while ``predict`` runs, (M * N, K, h, w): every output."""
        if _predicting.get() is not self:
            return super().cls_seg(feat)
        if self.dropout is not None:
            feat = self.dropout(feat)
        return self.conv_seg.outputs(feat).flatten(0, 1)

    def predict(self, *args, **kwargs) -> Tensor:
        """As in the stock head: features and image metas -> (N, K, H, W)."""
        # The outputs travel through the stock forward() and resize as additional images of the batch: neither knows
        # of them, so each head keeps its own code.
        token = _predicting.set(self if self._votes() and self.vote_at == "prediction" else None)
        try:
            return super().predict(*args, **kwargs)
        finally:
            _predicting.reset(token)

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Upsample to (H, W) as the stock head does, and vote before or after it."""
        if not self._votes():
            return super().predict_by_feat(seg_logits, batch_img_metas)
        if _predicting.get() is not self:
            return super().predict_by_feat(comparable(seg_logits), batch_img_metas)
        if not self._can_strip(seg_logits):
            outputs = super().predict_by_feat(seg_logits, batch_img_metas).unflatten(0, (self.conv_seg.num_outputs, -1))
            return comparable(vote(outputs, -3)[0])
        # The head tells the size on a map without data.
        shape = super().predict_by_feat(seg_logits[:1, :1].to("meta"), batch_img_metas).shape
        return vote_upsampled(seg_logits.unflatten(0, (self.conv_seg.num_outputs, -1)), shape[2:], self.align_corners)

    def _can_strip(self, seg_logits: Tensor) -> bool:
        """Whether the prediction is mmseg's plain upsampling and nobody differentiates, compiles or traces it."""
        stock = super().predict_by_feat.__func__ is BaseDecodeHead.predict_by_feat
        differentiated = torch.is_grad_enabled() and seg_logits.requires_grad
        return stock and not (differentiated or torch.compiler.is_compiling() or torch.jit.is_tracing())

    def _votes(self) -> bool:
        layer = self.conv_seg
        return layer.num_filters > 0 and layer.test_reduce == "vote" and not layer.training
