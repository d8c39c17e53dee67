"""Accuracy of every output and active units of every stage while a classifier trains."""

import torch
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ...openmmlab.training.scalars import TrainingScalarsHook


@HOOKS.register_module()
class FFCScalarsHook(TrainingScalarsHook):
    """:class:`.TrainingScalarsHook` of classifiers.

    The numbers are those of the whole batch, in training mode. Where Mixup or CutMix mixes images, the true class is
    the one with the largest share.
    """

    loss_method = "_get_loss"

    def main_head(self, model: nn.Module) -> nn.Module:
        return model.head

    def sampled(self, head, x: Tensor, samples: list) -> tuple[Tensor, Tensor]:
        if "gt_score" in samples[0]:
            labels = torch.stack([sample.gt_score for sample in samples]).argmax(1)
        else:
            labels = torch.cat([sample.gt_label for sample in samples])
        return x, labels.to(x.device)
