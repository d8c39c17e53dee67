"""PSPNet's and DeepLabV3's head with one of the variants as classifier. Shape shorthand as in ``decode_head.py``."""

import torch
from mmseg.models.decode_heads import ASPPHead, PSPHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from ffc_dense.method.filtering import interpolate_outputs
from ffc_dense.segmentation.model.decode_head import FFCDecodeHead

from .plan import HEADS
from .variants import VariantConv2d


class VariantDecodeHead(FFCDecodeHead):
    """Identical to :class:`FFCDecodeHead`, except that ``conv_seg`` is the :class:`VariantConv2d` of a head in HEADS.

    Args:
        evidence: the key in HEADS; its variant is not None.
        **kwargs: those of the mmseg head.
    """

    def __init__(self, *, evidence: str, **kwargs):
        super().__init__(num_filters=0, **kwargs)
        self.variant = HEADS[evidence].variant
        plain = nn.utils.skip_init(nn.Conv2d, self.channels, self.out_channels, 1)  # draws no random number
        plain.weight, plain.bias = self.conv_seg.weight, self.conv_seg.bias
        self.conv_seg = VariantConv2d.from_layer(plain, self.variant)

    def cls_seg(self, feat: Tensor) -> Tensor:
        if not self.training or not (self.variant.every_output or self.variant.before_dropout):
            return super().cls_seg(feat)
        layer = self.conv_seg
        if self.variant.before_dropout:
            logits = [nn.Conv2d.forward(layer, self.dropout(stage)) for stage in layer.filters(feat, -3)]
            return torch.stack(interpolate_outputs(logits)).mean(0)
        return layer.outputs(self.dropout(feat)).flatten(0, 1)

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict:
        if not self.variant.every_output:
            return super().loss_by_feat(seg_logits, batch_data_samples)
        outputs = seg_logits.unflatten(0, (self.conv_seg.num_outputs, -1))
        losses = [super(VariantDecodeHead, self).loss_by_feat(output, batch_data_samples) for output in outputs]
        return {name: sum(each[name] for each in losses) / len(losses) for name in losses[0]}


@MODELS.register_module()
class VariantPSPHead(VariantDecodeHead, PSPHead):
    pass


@MODELS.register_module()
class VariantASPPHead(VariantDecodeHead, ASPPHead):
    pass
