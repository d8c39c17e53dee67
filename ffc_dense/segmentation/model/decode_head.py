"""What every FFC decode head adds to mmseg's head.

Shape shorthand: N images, C channels, K classes (``out_channels``), M outputs, (h, w) the feature's size, (H, W)
the size that the head upsamples to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor

from ...method.layers import FFCConv2d
from ...method.options import split, takes_options
from ...openmmlab.model.ffc_head import FFCHead
from .upsampled_vote import vote_once, vote_upsampled

VOTE_AT = ("prediction", "feature")

# The head whose predict() runs in this thread and needs every output. Not an attribute of the head: threads share it.
_predicting: ContextVar["FFCDecodeHead | None"] = ContextVar("predicting", default=None)
# Where predict() puts what it would otherwise drop; None: it drops it.
_agreements: ContextVar[list[Tensor] | None] = ContextVar("agreements", default=None)
_outputs: ContextVar[list[Tensor] | None] = ContextVar("outputs", default=None)


@contextmanager
def collecting_agreement() -> Iterator[list[Tensor]]:
    """Within the context every ``predict`` of an FFC head that votes appends to the list that is yielded.

    What it appends is the agreement, (N, 1, H, W) fp32: the share of the M outputs that chose the class of the vote.
    """
    with _collecting(_agreements) as found:
        yield found


@contextmanager
def collecting_outputs() -> Iterator[list[Tensor]]:
    """Within the context ``predict`` of an FFC head appends its logits to the list that is yielded and stops there.

    With ``test_reduce='vote'`` those of all outputs, (M, N, K, h, w), otherwise the reduced ones, (1, N, K, h, w). What
    ``predict`` returns within the context has no meaning. :meth:`FFCDecodeHead.reduce_outputs` goes on.
    """
    with _collecting(_outputs) as found:
        yield found


@contextmanager
def _collecting(variable: ContextVar) -> Iterator[list[Tensor]]:
    found: list[Tensor] = []
    token = variable.set(found)
    try:
        yield found
    finally:
        variable.reset(token)


if TYPE_CHECKING:
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead as _Head  # what the mixin stands before
else:
    _Head = object


class FFCDecodeHead(FFCHead, _Head):
    """Stands before an mmseg decode head in the bases of an ``FFC*Head``.

    The head is identical to mmseg's, except that ``conv_seg`` is an :class:`ffc_dense.FFCConv2d` (after the
    dropout, under the same name) and that ``predict`` lets the outputs vote for every pixel. With another layer put in
    the place of ``conv_seg`` it is mmseg's head.

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
        vote_at: 'prediction' votes at (H, W), a strip of rows at a time. 'feature' votes at (h, w) and upsamples the
            winners: less work, other label maps near boundaries.
        **kwargs: the options of :class:`ffc_dense.FFCConv2d`, and the arguments of the mmseg head.

    Raises:
        ValueError: an option has no such value; the message lists the valid ones.
    """

    conv_seg: FFCConv2d

    @takes_options
    def __init__(
        self,
        *args,
        vote_at: str = "prediction",
        **kwargs,
    ):
        options, kwargs = split(kwargs)
        super().__init__(*args, **kwargs)
        self.vote_at = vote_at
        self.conv_seg = FFCConv2d.from_layer(self.conv_seg, **options)

    @property
    def ffc_layer(self) -> FFCConv2d:
        """``conv_seg``."""
        return self.conv_seg

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
        token = _predicting.set(self if self._votes() else None)
        try:
            return super().predict(*args, **kwargs)
        finally:
            _predicting.reset(token)

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Upsample to (H, W) as the stock head does, and vote before or after it."""
        outputs = seg_logits.unsqueeze(0)
        if _predicting.get() is self:
            outputs = seg_logits.unflatten(0, (self.conv_seg.num_outputs, -1))
        if (collected := _outputs.get()) is not None:
            collected.append(outputs)
            return seg_logits
        return self.reduce_outputs(outputs, batch_img_metas)

    def reduce_outputs(self, outputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """The rest of ``predict``: logits (M, N, K, h, w), of this head or of several alike, -> (N, K, H, W).

        With ``test_reduce='vote'`` they are voted on, else averaged. A single output stays as it is.
        """
        if len(outputs) == 1 or self.test_reduce != "vote":
            logits = outputs.squeeze(0) if len(outputs) == 1 else outputs.mean(0)
            return super().predict_by_feat(logits, batch_img_metas)
        wanted = _agreements.get()
        if self.vote_at == "feature":
            agreement = _agreement_of(outputs, tuple(outputs.shape[3:])) if wanted is not None else None
            winners = super().predict_by_feat(vote_once(outputs, agreement), batch_img_metas)
            if wanted is not None:
                wanted.append(super().predict_by_feat(agreement, batch_img_metas))
            return winners
        if self._can_strip(outputs):
            # The head tells the size on a map without data.
            size = super().predict_by_feat(outputs[0, :1, :1].to("meta"), batch_img_metas).shape[2:]
            agreement = _agreement_of(outputs, size) if wanted is not None else None
            winners = vote_upsampled(outputs, size, self.align_corners, agreement)
        else:
            maps = super().predict_by_feat(outputs.flatten(0, 1), batch_img_metas).unflatten(0, outputs.shape[:2])
            agreement = _agreement_of(maps, tuple(maps.shape[3:])) if wanted is not None else None
            winners = vote_once(maps, agreement)
        if wanted is not None and agreement is not None:
            wanted.append(agreement)
        return winners

    def _can_strip(self, outputs: Tensor) -> bool:
        """Whether the prediction is mmseg's plain upsampling and nobody differentiates, compiles or traces it."""
        stock = super().predict_by_feat.__func__ is BaseDecodeHead.predict_by_feat
        differentiated = torch.is_grad_enabled() and outputs.requires_grad
        return stock and not (differentiated or torch.compiler.is_compiling() or torch.jit.is_tracing())

    def _votes(self) -> bool:
        layer = self.conv_seg
        filters = getattr(layer, "num_filters", 0)  # a layer that the user put in its place has none
        return filters > 0 and layer.test_reduce == "vote" and not layer.training


def _agreement_of(outputs: Tensor, size: tuple[int, ...]) -> Tensor:
    """Room for the agreement of (M, N, K, ...) outputs at ``size``."""
    return outputs.new_empty(outputs.shape[1], 1, *size, dtype=torch.float32)
