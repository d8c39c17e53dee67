"""Accuracy of every output and active units of every stage in mmengine's visualizer."""

import math
from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ...inspection.decisions import NONE
from ...inspection.training import training_scalars
from ..model.decode_head import FFCDecodeHead


@HOOKS.register_module()
class FFCScalarsHook(Hook):
    """Gives ``ffc/out1/accuracy`` ... ``ffc/vote/accuracy`` and ``ffc/stage0/active_units`` ... to the visualizer.

    Its backends (LocalVisBackend, TensorboardVisBackend, WandbVisBackend, ...) draw them; the text log stays as it is.
    The numbers are those of an evenly spaced part of the batch's pixels, at the feature's resolution, with the nearest
    label, in training mode (a dropped-out channel is not active). Names of heads other than ``decode_head`` stand
    before theirs. Between the iterations that are looked at, the model runs as it would without the hook. The first
    process alone computes them, from its own part of the batch; nothing is exchanged.

    Args:
        interval: iterations from one look to the next; 0 for none.
        pixels: how many of a batch are looked at, about and at most.

    Raises:
        ValueError: an argument is not an integer in its range.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, interval: int = 100, pixels: int = 4096):
        for name, value, least in (("interval", interval, 0), ("pixels", pixels, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"FFCScalarsHook: {name} must be an integer of at least {least}, got {value!r}")
        self.interval, self.pixels = interval, pixels
        self._noting = ExitStack()
        self._found: dict[str, float] = {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if not self.interval or not self.every_n_train_iters(runner, self.interval) or not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        heads = [(name, head) for name, head in model.named_modules() if isinstance(head, FFCDecodeHead)]
        for name, head in heads:
            features: list[Tensor] = []
            prefix = "ffc/" if head is model.decode_head or len(heads) == 1 else f"{name}/ffc/"
            handle = head.conv_seg.register_forward_pre_hook(partial(_note, features))
            looking = partial(self._loss_by_feat, head, features, prefix, head.loss_by_feat)
            self._noting.callback(handle.remove)
            self._noting.enter_context(patch.object(head, "loss_by_feat", looking))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._noting.close()
        if self._found:
            runner.visualizer.add_scalars(self._found, step=runner.iter + 1)
            self._found = {}

    def after_train(self, runner: Runner) -> None:
        self._noting.close()

    def _loss_by_feat(self, head, features, prefix, loss_by_feat, seg_logits, batch_data_samples, *args, **kwargs):
        """``loss_by_feat`` of the head, which is where its labels are."""
        if features:
            x, labels = _sampled(features.pop(), batch_data_samples, head.ignore_index, self.pixels)
            scalars = training_scalars(head.conv_seg, x, labels)
            self._found |= {prefix + name: value for name, value in scalars.items()}
        return loss_by_feat(seg_logits, batch_data_samples, *args, **kwargs)


def _note(features: list[Tensor], layer, args: tuple) -> None:
    features[:] = [args[0].detach()]


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
