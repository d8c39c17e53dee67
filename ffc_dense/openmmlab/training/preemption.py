"""SIGTERM, as a cluster sends it before it takes the machine, and Ctrl-C: a checkpoint, then the end."""

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...reliability.preemption import StopSignals, shelter_workers, stopped_by


@HOOKS.register_module()
class PreemptionHook(Hook):
    """After SIGTERM or Ctrl-C, finish the iteration, write a checkpoint and end with exit code 143 or 130; ``--resume``
    goes on. Another Ctrl-C ends the training at once.

    In several processes the signal may reach one before the other: every ``interval`` iterations, and before each
    validation, they ask each other whether it came, and end after the same iteration. Choose ``interval`` so that so
    many iterations and a checkpoint fit into the time that the cluster grants; torchrun grants 30 seconds. 0 turns the
    hook off.

    A validation that has begun is finished first. A training whose checkpoint hook counts epochs ends without a new
    checkpoint: mmengine cannot resume within an epoch. The data loader's worker processes, which Slurm signals too, go
    on until the training process ends them.

    Raises:
        SystemExit: with code 143, or 130 after Ctrl-C.
    """

    priority = "LOWEST"  # after the checkpoint hook

    def __init__(self, interval: int = 5) -> None:
        if interval < 0:
            raise ValueError(
                f"interval must be a number of iterations, or 0 to leave the signals alone; not {interval}"
            )
        self.interval = interval
        self._signals = StopSignals()

    def before_train(self, runner: Runner) -> None:
        if self.interval == 0 or not self._signals.catch(runner.logger.warning):
            return
        loops = [loop for loop in (runner.train_loop, runner.val_loop) if loop is not None]
        for loader in {id(loop.dataloader): loop.dataloader for loop in loops}.values():
            shelter_workers(loader)

    def after_train(self, runner: Runner) -> None:
        self._signals.release()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        done = runner.iter + 1
        if self.interval == 0 or done >= runner.max_iters:
            return  # ends by itself, with its last checkpoint written
        if done % self.interval and runner.world_size > 1 and not _validates_after(runner, done):
            return
        told = torch.tensor([self._signals.told])
        all_reduce(told, op="max")
        if told.item():
            self._stop(runner, done, int(told.item()))

    def _stop(self, runner: Runner, done: int, number: int) -> None:
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        for hook in hooks:
            if not hook.by_epoch and not str(hook.last_ckpt).endswith(hook.filename_tmpl.format(done)):
                hook._save_checkpoint(runner)
        saved = ", ".join(str(hook.last_ckpt) for hook in hooks if hook.last_ckpt) or "none"
        runner.logger.warning(
            f"{stopped_by(number)}: stopped after iteration {done}, checkpoint {saved}; go on with --resume"
        )
        barrier()  # torchrun kills the others as soon as one process has ended
        raise SystemExit(128 + number)


def _validates_after(runner: Runner, done: int) -> bool:
    return runner.val_loop is not None and done >= runner.val_begin and done % runner.val_interval == 0
