"""The check of the datasets at the start of a training, by the first process for all of them."""

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmseg.datasets import CityscapesDataset
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from ...data.quick import LABELS, check_mode, checked, quick_cityscapes
from ...errors import UserError
from ...openmmlab.training.main_process import from_main

KEY = "default_hooks.dataset_check.mode"  # where the shipped configs have it


@HOOKS.register_module()
class CheckDatasetHook(Hook):
    """Refuse to train on a faulty dataset in Cityscapes' layout; others are passed over, and that is logged.

    Before the first iteration, and before initial weights are downloaded, it looks at every file of the training and
    validation split: names, missing files, headers, sizes, truncated files. Values are read in ``labels`` label files
    per split, evenly spaced: a wrong table of ids is in all of them, a single wrong file can be missed, which
    ``tools/check_dataset.py`` finds. Seconds on Cityscapes. Testing checks nothing.

    Args:
        mode: what a fault does: 'error' stops the training, 'warn' is logged, 'off' does not look.
        labels: label files per split whose pixels are read; 0 reads all, which takes a minute per CPU core.

    Raises:
        UserError: a dataset is faulty. Every process of the job raises it.
    """

    priority = "HIGHEST"

    def __init__(self, mode: str = "error", labels: int = LABELS):
        self.mode = check_mode(mode, KEY)
        self.labels = labels

    def before_run(self, runner: Runner) -> None:
        trains = isinstance(runner.optim_wrapper, OptimWrapper | OptimWrapperDict)
        if self.mode == "off" or not trains:
            return
        problem = from_main(self._problems, runner)
        if problem and self.mode == "error":
            raise UserError(
                f"{problem}\nCorrect it; --cfg-options {KEY}=warn trains all the same. docs/DATASETS.md "
                "explains the faults"
            )
        if problem:
            _say(f"dataset check: warning: {problem}")

    def _problems(self, runner: Runner) -> str:
        loops = {"train_dataloader": runner.train_loop, "val_dataloader": runner.val_loop}
        found = (self._check(name, loop.dataloader.dataset) for name, loop in loops.items() if loop is not None)
        return "\n".join(problem for problem in found if problem)

    def _check(self, name: str, dataset: Dataset) -> str:
        """What is wrong with a dataset, '' if nothing is."""
        place = cityscapes_split(dataset)
        if place is None:
            _say(f"dataset check: {name}: a {type(dataset).__name__} in another layout than Cityscapes' is not checked")
            return ""
        root, split = place
        classes = len(dataset.metainfo["classes"])
        return checked(
            f"{name} {root}, {split}",
            lambda report: quick_cityscapes(str(root), split, report, classes, self.labels),
            _say,
        )


def cityscapes_split(dataset: Dataset) -> tuple[Path, str] | None:
    """(root, 'train' or 'val') of a dataset in Cityscapes' layout, else None."""
    if not isinstance(dataset, CityscapesDataset) or dataset.ann_file:
        return None
    images = Path(dataset.data_prefix.get("img_path") or "")
    labels = Path(dataset.data_prefix.get("seg_map_path") or "")
    names = (dataset.img_suffix, dataset.seg_map_suffix) == ("_leftImg8bit.png", "_gtFine_labelTrainIds.png")
    root, split = images.parent.parent, images.name
    layout = images == root / "leftImg8bit" / split and labels == root / "gtFine" / split
    return (root, split) if names and layout and split in ("train", "val") else None


def _say(line: str) -> None:
    print_log(line, logger="current")
