"""The check of the datasets at the start of a training, by the first process for all of them."""

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ...data.quick import check_mode
from ...errors import UserError
from ..training.main_process import from_main

KEY = "default_hooks.dataset_check.mode"  # where the shipped configs have it


class DatasetCheckHook(Hook):
    """Refuse to train on a faulty dataset, before the first iteration and before initial weights are downloaded.

    A subclass says what a fault is. Testing checks nothing.

    Args:
        mode: what a fault does: 'error' stops the training, 'warn' is logged, 'off' does not look.

    Raises:
        UserError: a dataset is faulty. Every process of the job raises it.
    """

    priority = "HIGHEST"

    def __init__(self, mode: str = "error"):
        self.mode = check_mode(mode, KEY)

    def check(self, name: str, dataset: Dataset) -> str:
        """What is wrong with ``dataset``, '' if nothing is. Called by the first process alone.

        Args:
            name: ``train_dataloader`` or ``val_dataloader``.
        """
        raise NotImplementedError

    def before_run(self, runner: Runner) -> None:
        trains = isinstance(runner.optim_wrapper, OptimWrapper | OptimWrapperDict)
        if self.mode == "off" or not trains:
            return
        problem = from_main(self._problems, runner)
        if problem and self.mode == "error":
            raise UserError(
                f"{problem}\nCorrect it, or train anyway with --cfg-options {KEY}=warn; see docs/how-to/datasets.md"
            )
        if problem:
            say(f"dataset check: warning: {problem}")

    def _problems(self, runner: Runner) -> str:
        loops = {"train_dataloader": runner.train_loop, "val_dataloader": runner.val_loop}
        found = (self.check(name, loop.dataloader.dataset) for name, loop in loops.items() if loop is not None)
        return "\n".join(problem for problem in found if problem)


def say(line: str) -> None:
    print_log(line, logger="current")
