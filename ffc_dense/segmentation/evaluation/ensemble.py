"""Several segmentors that decide as one (paper Table 7). Shape shorthand as in ``decode_head.py``; P members."""

import copy

import torch
from mmseg.models import BaseSegmentor, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...openmmlab.inputs.config_errors import class_of, type_name
from ..model import heads
from ..model.decode_head import FFCDecodeHead, collecting_outputs
from ..model.opinions import OpinionsMixin, last_head


@MODELS.register_module()
class SegmentorEnsemble(OpinionsMixin, EncoderDecoder):
    """P segmentors of one config, with weights of their own, that classify every pixel together. For prediction only.

    Identical to one of them as :class:`EncoderDecoder` uses it (slide windows, padding, flip, resizing), except that a
    pixel is classified by the outputs of all: with ``test_reduce='vote'`` the P x M outputs vote as the M of one model
    do; with 'mean' their logits are averaged; with 'out1' ... those of the members' own Out1 ... In slide inference
    that happens window by window. Stock heads take part with their one output.

    One member gives what it gives alone. No member's scores are upsampled before the vote: beside the members' small
    maps there is one (K, H, W) map, as for a single model.

    Args:
        member: config of an ``EncoderDecoder`` or ``CascadeEncoderDecoder``.
        size: P.
        opinions: see :class:`OpinionsMixin`.
        data_preprocessor: for a ``member`` without one; mmengine's Runner gives it to every model.

    Raises:
        ValueError: ``size`` is less than 1, or the head of ``member`` is none that ends in ``cls_seg``.
    """

    def __init__(self, member: dict, size: int, opinions: bool = False, data_preprocessor: dict | None = None):
        if size < 1:
            raise ValueError(f"size: an ensemble has at least one member, got {size!r}")
        member = with_ffc_head(member)
        member.setdefault("data_preprocessor", data_preprocessor)
        members = [MODELS.build(copy.deepcopy(member)) for _ in range(size)]
        BaseSegmentor.__init__(self, data_preprocessor=members[0].data_preprocessor)
        self.members = nn.ModuleList(members)
        self.test_cfg, self.opinions = members[0].test_cfg, opinions
        for name in ("align_corners", "num_classes", "out_channels"):
            setattr(self, name, getattr(members[0], name))

    @property
    def decode_head(self) -> FFCDecodeHead:
        """The first member's head, whose options (``vote_at``, ``threshold``) hold for the ensemble."""
        return last_head(self.members[0])

    def voting_heads(self) -> list[FFCDecodeHead]:
        """The members' heads."""
        return [last_head(member) for member in self.members]

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Images or windows (N, 3, H, W) -> (N, K, H, W), as in the stock class."""
        with collecting_outputs() as outputs:
            for member in self.members:
                member.encode_decode(inputs, batch_img_metas)
        joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        del outputs
        return self.decode_head.reduce_outputs(joined, batch_img_metas)

    def extract_feat(self, inputs: Tensor):
        raise TypeError("an ensemble has no feature of its own; ask one of its members")

    def _forward(self, inputs: Tensor, data_samples=None) -> Tensor:
        raise TypeError("an ensemble predicts only: call it with mode='predict'")

    def loss(self, inputs: Tensor, data_samples) -> dict:
        raise TypeError("an ensemble predicts only: train its members one by one")


def with_ffc_head(model: dict) -> dict:
    """A segmentor's config with the stock head, if it has one, as the FFC head without filters, which is the same.

    Raises:
        ValueError: there is no such FFC head.
    """
    model = copy.deepcopy(model)
    head = model["decode_head"][-1] if isinstance(model["decode_head"], list | tuple) else model["decode_head"]
    kind = class_of(head)
    if not (isinstance(kind, type) and issubclass(kind, FFCDecodeHead)):
        name = f"FFC{type_name(head)}"
        if name not in (*heads.__all__, "FFCNarrowASPPHead"):
            raise ValueError(
                f"model.decode_head.type: outputs of {name.removeprefix('FFC')} cannot be joined; expected a head that "
                "ends in cls_seg (docs/background/segmentation.md)"
            )
        head.update(type=f"mmseg.{name}", num_filters=0)
    return model
