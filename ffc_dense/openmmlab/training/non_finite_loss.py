"""A loss that is NaN or infinite stops the training, or is skipped, before the weights are updated."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ...reliability.non_finite import NonFiniteLoss, NonFiniteRule
from ...reliability.saving import non_finite

__all__ = ["NonFiniteLoss", "NonFiniteLossHook"]

KEY = "default_hooks.non_finite_loss"  # where the shipped configs have it


@dataclass
class _Losses:
    """What one forward pass returned, on its way to the CPU."""

    terms: dict[str, Tensor]
    found: Tensor  # 1 where a term of any process is not finite
    copied: torch.cuda.Event | None

    def any_bad(self) -> bool:
        if self.copied is not None:
            self.copied.synchronize()
        return bool(self.found)


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Look at each term of the loss in every iteration, and act before ``optimizer.step``.

    All processes come to the same decision: one number is reduced over them after the forward pass. It travels to the
    CPU while the backward pass runs, so that the GPU is not kept waiting. Mixed precision is not disturbed: GradScaler
    goes on to skip steps whose gradients overflow although the loss is finite.

    A finite loss can have gradients that are not; the weights are then lost, and the next iteration says so. The
    checkpoint hook does not write such weights.

    Args:
        action, max_consecutive: as in :class:`.NonFiniteRule`. With gradient accumulation, what was accumulated before
            a skipped iteration is dropped with it.

    Raises:
        UserError: ``action`` or ``max_consecutive`` is wrong.
        NonFiniteLoss: on all processes. The message names their images too.
    """

    priority = "VERY_HIGH"

    def __init__(self, action: str = "stop", max_consecutive: int = 10) -> None:
        self.rule = NonFiniteRule(action, max_consecutive, f"{KEY}.action", f"{KEY}.max_consecutive")
        self._handles: list = []
        self._pending: list[_Losses] = []
        self._images: list[str] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._bad = False  # in this iteration

    def before_train(self, runner: Runner) -> None:
        if self.rule.action == "ignore":
            return
        self._runner = runner
        self._model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        self._optimizers = [each.optimizer for each in wrappers]
        self._handles = [self._model.register_forward_hook(self._after_forward, with_kwargs=True)]
        self._handles += [optimizer.register_step_pre_hook(self._before_step) for optimizer in self._optimizers]
        self.rule.finite()

    def after_train(self, runner: Runner) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._pending, self._bad = [], False
        samples = data_batch.get("data_samples") or [] if isinstance(data_batch, dict) else []
        self._images = [str(path) for sample in samples if (path := getattr(sample, "img_path", None))]
        if self.rule.action == "skip":
            self._buffers = [(buffer, buffer.clone()) for buffer in self._model.buffers()]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._settle()  # no step in this iteration: gradient accumulation, or GradScaler skipped it
        if not self._bad:
            self.rule.finite()

    def _after_forward(self, model: nn.Module, args: tuple, kwargs: dict, output) -> None:
        if kwargs.get("mode") != "loss" or not isinstance(output, dict):
            return
        terms = {name: _mean(value) for name, value in output.items() if "loss" in name}  # as parse_losses does
        if not terms:
            return
        found = (~torch.stack(list(terms.values())).isfinite()).any().float().reshape(1)
        all_reduce(found, op="max")
        copied = None
        if found.is_cuda:
            on_cpu = torch.empty(1, pin_memory=True)
            on_cpu.copy_(found, non_blocking=True)
            found, copied = on_cpu, torch.cuda.Event()
            copied.record()
        self._pending.append(_Losses(terms, found, copied))

    def _before_step(self, optimizer, args: tuple, kwargs: dict) -> None:
        self._settle()

    def _settle(self) -> None:
        pending, self._pending = self._pending, []
        bad = [losses for losses in pending if losses.any_bad()]
        if not bad:
            return
        self._bad = True
        losses, images = zip(*all_gather_object(self._own(bad)), strict=True)
        checkpoint = self._runner.message_hub.runtime_info.get("last_ckpt")
        checkpoint = checkpoint if checkpoint and Path(checkpoint).exists() else None
        warning = self.rule.not_finite(
            self._runner.iter + 1, losses, images, state=self._weights(), checkpoint=checkpoint
        )
        # A step without gradients changes nothing, neither weights nor momentum.
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        for buffer, before in self._buffers:
            buffer.copy_(before)
        self._runner.logger.warning(warning)

    def _own(self, bad: list[_Losses]) -> tuple[dict[str, float], str]:
        """This process's terms and images. A term that is not finite in one of several passes counts."""
        terms: dict[str, float] = {}
        for each in bad:
            terms |= {name: float(value) for name, value in each.terms.items() if math.isfinite(terms.get(name, 0.0))}
        return terms, f"images: {', '.join(self._images) or 'unknown'}"

    def _weights(self) -> str:
        names = non_finite(dict(self._model.named_parameters()))
        return f"{len(names)} weights held NaN or infinity before it already ({names[0]})." if names else ""


def _mean(value: Tensor | list[Tensor]) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().float().mean()
    return torch.stack([_mean(each) for each in value]).sum()
