"""Accuracy of every output and active units of every stage while a segmentor trains."""

import math

import torch
from mmengine.registry import HOOKS
from torch import Tensor, nn

from ...inspection.decisions import NONE
from ...openmmlab.training.scalars import TrainingScalarsHook


@HOOKS.register_module()
class FFCScalarsHook(TrainingScalarsHook):
    """:class:`.TrainingScalarsHook` of segmentors.

    The numbers are those of an evenly spaced part of the batch's pixels, at the feature's resolution, with the nearest
    label, in training mode (a dropped-out channel is not active). Names of heads other than ``decode_head`` stand
    before theirs.

    Args:
        interval: iterations from one look to the next; 0 for none.
        pixels: how many of a batch are looked at, about and at most.

    Raises:
        ValueError: an argument is not an integer in its range.
    """

    loss_method = "loss_by_feat"

    def __init__(self, interval: int = 100, pixels: int = 4096):
        super().__init__(interval)
        self._check("pixels", pixels, 1)
        self.pixels = pixels

    def main_head(self, model: nn.Module) -> nn.Module:
        return model.decode_head

    def sampled(self, head, x: Tensor, samples: list) -> tuple[Tensor, Tensor]:
        return _sampled(x, samples, head.ignore_index, self.pixels)


def _sampled(x: Tensor, samples: list, ignore_index: int, pixels: int) -> tuple[Tensor, Tensor]:
    """Every s-th row and column of features (N, C, h, w), at most ``pixels``, and the labels that lie at their centres.

    Images beyond that many are left out, so that a look costs the same whatever the batch.
    """
    images = min(len(x), pixels)
    h, w = x.shape[-2:]
    step = max(1, math.ceil(math.sqrt(images * h * w / pixels)))
    while images * -(-h // step) * -(-w // step) > pixels:
        step += 1
    rows, columns = (torch.arange(step // 2 if step // 2 < size else 0, size, step, device=x.device) for size in (h, w))
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in samples[:images]]).to(x.device)
    height, width = labels.shape[-2:]
    at_rows, at_columns = (2 * rows + 1) * height // (2 * h), (2 * columns + 1) * width // (2 * w)
    labels = labels[:, at_rows][:, :, at_columns].long()
    return x[:images][:, :, rows][:, :, :, columns], torch.where(labels == ignore_index, NONE, labels)
