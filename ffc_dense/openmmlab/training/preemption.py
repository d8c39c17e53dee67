"""SIGTERM, as a cluster sends it before it takes the machine: a checkpoint, then the end."""

import functools
import signal
import threading

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...reliability.preemption import EXIT_CODE, outlive_others_signals


@HOOKS.register_module()
class PreemptionHook(Hook):
    """After SIGTERM, finish the iteration, write a checkpoint and end with exit code 143; ``--resume`` goes on.

    In several processes the signal may reach one before the other: every ``interval`` iterations, and before each
    validation, they ask each other whether it came, and end after the same iteration. Choose ``interval`` so that so
    many iterations and a checkpoint fit into the time that the cluster grants; torchrun grants 30 seconds. 0 turns the
    hook off.

    A validation that has begun is finished first. A training whose checkpoint hook counts epochs ends without a new
    checkpoint: mmengine cannot resume within an epoch. The data loader's worker processes, which Slurm signals too, go
    on until the training process ends them.

    Raises:
        SystemExit: with code 143.
    """

    priority = "LOWEST"  # after the checkpoint hook

    def __init__(self, interval: int = 5) -> None:
        if interval < 0:
            raise ValueError(f"interval must be a number of iterations, or 0 to leave SIGTERM alone; not {interval}")
        self.interval = interval
        self._told = False
        self._handler_before = None

    def before_train(self, runner: Runner) -> None:
        if self.interval == 0:
            return
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning("Not in the main thread: SIGTERM ends the training without a checkpoint")
            return
        self._told = False
        self._handler_before = signal.signal(signal.SIGTERM, self._on_signal)
        loader = runner.train_dataloader
        loader.worker_init_fn = functools.partial(outlive_others_signals, loader.worker_init_fn)

    def after_train(self, runner: Runner) -> None:
        if self._handler_before is not None:
            signal.signal(signal.SIGTERM, self._handler_before)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        done = runner.iter + 1
        if self.interval == 0 or done >= runner.max_iters:
            return  # ends by itself, with its last checkpoint written
        if done % self.interval and runner.world_size > 1 and not _validates_after(runner, done):
            return
        told = torch.tensor([int(self._told)])
        all_reduce(told, op="max")
        if told.item():
            self._stop(runner, done)

    def _on_signal(self, number: int, frame) -> None:
        self._told = True

    def _stop(self, runner: Runner, done: int) -> None:
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        for hook in hooks:
            if not hook.by_epoch and not str(hook.last_ckpt).endswith(hook.filename_tmpl.format(done)):
                hook._save_checkpoint(runner)
        saved = ", ".join(str(hook.last_ckpt) for hook in hooks if hook.last_ckpt) or "none"
        runner.logger.warning(f"SIGTERM: stopped after iteration {done}, checkpoint {saved}; go on with --resume")
        barrier()  # torchrun kills the others as soon as one process has ended
        raise SystemExit(EXIT_CODE)


def _validates_after(runner: Runner, done: int) -> bool:
    return runner.val_loop is not None and done >= runner.val_begin and done % runner.val_interval == 0
