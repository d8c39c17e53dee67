"""DeepLabV3's head with narrow branches, stock and FFC.

Shape shorthand: N images, B channels of a branch, C channels of the classified feature, (h, w) the feature's size.
"""

from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import ASPPHead
from mmseg.registry import MODELS
from torch import nn

from .decode_head import FFCDecodeHead


@MODELS.register_module()
class NarrowASPPHead(ASPPHead):
    """Identical to mmseg's ``ASPPHead``, except that the branches have ``branch_channels`` channels and that a 1x1
    convolution makes them the (N, C, h, w) feature, where mmseg has C channels everywhere and a 3x3 convolution.

    The head of speedinghzl/pytorch-segmentation-toolbox (B 256, C 512, dilations 12, 24 and 36). It has 15.9 M
    parameters with ``in_channels=2048`` and 19 classes, mmseg's has 42.2 M.

    Args:
        branch_channels: B.
        channels: C.
        **kwargs: those of ``ASPPHead``.
    """

    def __init__(self, branch_channels: int = 256, channels: int = 512, **kwargs):
        super().__init__(channels=branch_channels, **kwargs)
        self.channels = channels
        self.bottleneck = ConvModule(
            (len(self.dilations) + 1) * branch_channels,
            channels,
            1,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )
        self.conv_seg = nn.Conv2d(channels, self.out_channels, kernel_size=1)


@MODELS.register_module()
class FFCNarrowASPPHead(FFCDecodeHead, NarrowASPPHead):  # type: ignore[misc]  # both name conv_seg
    """Identical to :class:`NarrowASPPHead`, except for what :class:`FFCDecodeHead` says."""
