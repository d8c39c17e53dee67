"""Maps of agreement and confidence beside the label map. Shape shorthand as in ``decode_head.py``.

(H0, W0) is the size of the image as it came.
"""

import copy
from typing import TYPE_CHECKING

import torch
from mmengine.structures import PixelData
from mmseg.models import CascadeEncoderDecoder, EncoderDecoder, SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ...openmmlab.inputs.config_errors import type_name
from .decode_head import collecting_agreement
from .upsampling import STRIP_ELEMENTS

MAPS = ("confidence", "agreement")
SAYS_OPINIONS = {name: f"FFC{name}" for name in ("EncoderDecoder", "CascadeEncoderDecoder")}


if TYPE_CHECKING:
    from mmseg.models import EncoderDecoder as _Segmentor  # what the mixin stands before
else:
    _Segmentor = object


class OpinionsMixin(_Segmentor):
    """Stands before a segmentor of mmseg in the bases of an ``FFC*`` segmentor.

    The segmentor is identical to mmseg's, except that with ``opinions`` the data samples of ``predict`` have
    two more fields, of the shape of ``pred_sem_seg``:

    ``confidence``: PixelData, (1, H0, W0) fp32. The probability of the predicted label: the softmax of ``seg_logits``
    at it, 0 where a score is not finite. With K = 1, p or 1 - p. Any head has it.

    ``agreement``: PixelData, (1, H0, W0) fp32, with ``num_outputs`` M among its metainfo. The share of the M outputs
    that chose the class of the vote, 1/M to 1. It is counted where the pixels vote and goes the way of the scores from
    there: averaged over slide windows, cropped, flipped back and resized. Only where outputs vote
    (``test_reduce='vote'``); data samples of other heads and test modes lack it.

    Args:
        *args, **kwargs: those of the mmseg segmentor.
        opinions: may be set at any time.
    """

    def __init__(self, *args, opinions: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.opinions = opinions

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """Images (N, 3, H, W) -> data samples, as in the stock class."""
        if not self.opinions:
            return super().predict(inputs, data_samples)
        with collecting_agreement() as windows:
            found = super().predict(inputs, data_samples)
        for sample in found:
            confidence = label_probability(sample.seg_logits.data, sample.pred_sem_seg.data)
            sample.set_data({"confidence": PixelData(data=confidence)})
            sample.pop("agreement", None)  # of a test mode before this one
        for sample, agreement in zip(found, self._assembled(windows, inputs, data_samples), strict=bool(windows)):
            num_outputs = sum(head.conv_seg.num_outputs for head in self.voting_heads())
            sample.set_data({"agreement": PixelData(data=agreement, metainfo=dict(num_outputs=num_outputs))})
        return found

    def voting_heads(self) -> list:
        """The decode heads whose outputs vote together."""
        return [last_head(self)]

    def _assembled(self, windows: list[Tensor], inputs: Tensor, data_samples) -> list[Tensor]:
        """(1, H0, W0) per image from the windows' (N, 1, H, W), by mmseg's own steps from window to original image."""
        if not windows:
            return []
        # A copy of this segmentor that finds the windows' agreement in the place of scores. The channel comes twice:
        # mmseg would take a single one for a logit.
        assembling = copy.copy(self)
        assembling.opinions, assembling.out_channels = False, 2
        rest = iter(windows)
        assembling.encode_decode = lambda *_: next(rest).expand(-1, 2, -1, -1)
        if data_samples is not None:
            data_samples = [SegDataSample(metainfo=sample.metainfo) for sample in data_samples]
        return [sample.seg_logits.data[:1] for sample in assembling.predict(inputs, data_samples)]


@MODELS.register_module()
class FFCEncoderDecoder(OpinionsMixin, EncoderDecoder):
    """Identical to mmseg's ``EncoderDecoder``, except for what :class:`OpinionsMixin` says."""


@MODELS.register_module()
class FFCCascadeEncoderDecoder(OpinionsMixin, CascadeEncoderDecoder):
    """Identical to mmseg's ``CascadeEncoderDecoder``, except for what :class:`OpinionsMixin` says."""


@MODELS.register_module()
class FFCSegTTAModel(SegTTAModel):
    """Identical to :class:`SegTTAModel`, except that the merged data samples keep maps that belong to them.

    ``confidence`` is the probability of the merged label in the probabilities that mmseg averages over the
    augmentations, ``agreement`` the average of theirs. ``SegTTAModel`` itself would leave those of the last
    augmentation.
    """

    def merge_preds(self, data_samples_list: list[list[SegDataSample]]) -> list[SegDataSample]:
        """A list of data samples per image, one for each augmentation -> a data sample per image."""
        merged = super().merge_preds(data_samples_list)
        for sample, augmented in zip(merged, data_samples_list, strict=True):
            if "confidence" not in sample:
                continue
            label = sample.pred_sem_seg.data.reshape(1, *sample.confidence.shape)
            every = [label_probability(each.seg_logits.data, label) for each in augmented]
            sample.confidence = PixelData(data=sum(every) / len(every))
            if "agreement" in sample:
                every = [each.agreement.data for each in augmented]
                meta = dict(num_outputs=sample.agreement.num_outputs)
                sample.agreement = PixelData(data=sum(every) / len(every), metainfo=meta)
        return merged


def with_opinions(model: dict) -> dict:
    """A segmentor's config -> that of the FFC segmentor with ``opinions``. Each loads the weights of the other.

    Raises:
        ValueError: the segmentor is of another kind.
    """
    name = type_name(model)
    kind = SAYS_OPINIONS.get(name, name)
    if kind not in (*SAYS_OPINIONS.values(), "SegmentorEnsemble"):
        raise ValueError(
            f"model.type: {name!r} gives no maps of agreement and confidence; expected one of "
            f"{', '.join(SAYS_OPINIONS)}"
        )
    return {**model, "type": f"mmseg.{kind}", "opinions": True}


def last_head(segmentor: torch.nn.Module) -> torch.nn.Module:
    """The decode head that classifies: the only one, or a cascade's last."""
    heads = segmentor.get_submodule("decode_head")
    return heads[-1] if isinstance(heads, torch.nn.ModuleList) else heads


def label_probability(scores: Tensor, label: Tensor) -> Tensor:
    """The probability of each pixel's label, a strip of rows at a time.

    Args:
        scores: (K, H0, W0), ``seg_logits`` of a data sample: logits, or the probability if K = 1.
        label: (1, H0, W0).

    Returns:
        (1, H0, W0) fp32, in [0, 1]; 0 where a score is NaN or +inf. No gradient flows.
    """
    scores = scores.detach()
    if len(scores) == 1:
        return torch.where(label > 0, scores, 1 - scores).float().nan_to_num_(nan=0.0)
    found = torch.empty_like(label, dtype=torch.float32)
    rows = max(1, STRIP_ELEMENTS // max(1, scores[:, :1].numel()))
    for strip, chosen, target in zip(*(each.split(rows, 1) for each in (scores, label, found)), strict=True):
        logits = strip.float()
        below = logits - logits.gather(0, chosen.long())
        torch.div(1, below.exp_().sum(0, keepdim=True), out=target)
    return found.nan_to_num_(nan=0.0)
