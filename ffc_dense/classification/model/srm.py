"""ResNet with style-based recalibration (Lee, Kim, Nam, 2019), which the paper combines FFC with (Table 3).

Shape shorthand: N images, C channels, (h, w) the feature's size.
"""

import torch
from mmpretrain.models.backbones import SEResNet
from mmpretrain.models.backbones.seresnet import SEBottleneck
from mmpretrain.registry import MODELS
from torch import Tensor, nn


class StyleRecalibration(nn.Module):
    """Weighs each channel by a gate that its own mean and standard deviation set: (N, C, h, w) -> the same shape.

    gate = sigmoid(BatchNorm(u * mean + v * deviation)), with u and v of each channel in ``cfc``, (C, 2), from 0. The
    deviation is sqrt(var + eps), var with h * w - 1 in the denominator. 4C parameters. Of weight decay the original
    training excludes them: ``paramwise_cfg=dict(custom_keys={"se_layer": dict(decay_mult=0.0)})``.

    Args:
        channels: C.
        eps: of the deviation.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.cfc = nn.Parameter(torch.zeros(channels, 2))
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
        u, v = self.cfc[:, :, None, None].unbind(1)
        return x * torch.sigmoid(self.bn(u * mean + v * (variance + self.eps).sqrt()))


class SRMBottleneck(SEBottleneck):
    """A bottleneck with :class:`StyleRecalibration` where ``SEBottleneck`` has its SELayer: after the last norm, before
    the addition."""

    def __init__(self, in_channels: int, out_channels: int, **kwargs):
        super().__init__(in_channels, out_channels, **kwargs)
        self.se_layer = StyleRecalibration(out_channels)


@MODELS.register_module()
class SRMResNet(SEResNet):
    """Identical to mmpretrain's ``SEResNet``, except that its blocks are :class:`SRMBottleneck`."""

    arch_settings = {depth: (SRMBottleneck, blocks) for depth, (_, blocks) in SEResNet.arch_settings.items()}
