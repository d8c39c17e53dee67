"""3D ResNeXt as the MARS code trained it on Kinetics (craston/MARS, ``models/resnext.py``), under its parameter names.

Shape shorthand: N clips, C channels (3 RGB, 2 flow), T frames, (H, W) pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

EXPANSION = 2  # of a block's output over its ``planes``


class Bottleneck(nn.Module):
    """1x1x1, grouped 3x3x3, 1x1x1 convolution; the shortcut is a 1x1x1 convolution where the shape changes."""

    def __init__(self, inplanes: int, planes: int, cardinality: int, stride: int):
        super().__init__()
        middle, out = cardinality * (planes // 32), planes * EXPANSION
        self.conv1 = nn.Conv3d(inplanes, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(middle)
        self.conv2 = nn.Conv3d(middle, middle, 3, stride, 1, groups=cardinality, bias=False)
        self.bn2 = nn.BatchNorm3d(middle)
        self.conv3 = nn.Conv3d(middle, out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out)
        self.downsample = None
        if stride != 1 or inplanes != out:
            self.downsample = nn.Sequential(nn.Conv3d(inplanes, out, 1, stride, bias=False), nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


@MODELS.register_module()
class ResNeXt3D(BaseModule):
    """3D ResNeXt: (N, C, T, H, W) -> a tuple of one map (N, 2 * planes[-1], T / 16, H / 32, W / 32), sizes rounded up.

    With the defaults it is ResNeXt-101 of MARS. ``init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='module')``
    loads one of its published checkpoints but for ``fc``, the classifier.

    Args:
        in_channels: C.
        blocks: per stage.
        planes: of each stage's blocks, multiples of 32; their outputs have twice as many channels.
        cardinality: groups of the 3x3x3 convolutions.
        frozen_stages: the stem and so many stages are not trained. Their BatchNorms still follow the batches, as in
            MARS, which trains stage 4 and the classifier (``frozen_stages=3``) and sets the other learning rates to 0.
            -1 trains all.

    Raises:
        ValueError: an argument is not as described; the message names it.
    """

    def __init__(
        self,
        in_channels: int = 3,
        blocks: Sequence[int] = (3, 4, 23, 3),
        planes: Sequence[int] = (128, 256, 512, 1024),
        cardinality: int = 32,
        frozen_stages: int = -1,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)
        if len(blocks) != len(planes) or min(blocks, default=0) < 1:
            raise ValueError(f"blocks and planes: one number of at least 1 for each stage, got {blocks} and {planes}")
        if any(each < 32 or each % 32 for each in planes):
            raise ValueError(f"planes: expected multiples of 32, got {planes}")
        if not -1 <= frozen_stages <= len(blocks):
            raise ValueError(f"frozen_stages: expected -1 to {len(blocks)}, got {frozen_stages}")
        self.stages, self.frozen_stages = len(blocks), frozen_stages
        self.conv1 = nn.Conv3d(in_channels, 64, 7, (1, 2, 2), 3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        inplanes = 64
        for stage, (count, width) in enumerate(zip(blocks, planes, strict=True), 1):
            layers = []
            for block in range(count):
                layers.append(Bottleneck(inplanes, width, cardinality, 2 if stage > 1 and block == 0 else 1))
                inplanes = width * EXPANSION
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        frozen = [self.conv1, self.bn1] if frozen_stages >= 0 else []
        for part in [*frozen, *(getattr(self, f"layer{stage}") for stage in range(1, frozen_stages + 1))]:
            part.requires_grad_(False)

    def init_weights(self) -> None:
        """He's normal initialisation by fan-out, as in MARS; a checkpoint of ``init_cfg`` comes after it."""
        if not self.is_init:
            for module in self.modules():
                if isinstance(module, nn.Conv3d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out")
                elif isinstance(module, _BatchNorm):
                    module.reset_parameters()
        super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool3d(x, 3, 2, 1)
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return (x,)
