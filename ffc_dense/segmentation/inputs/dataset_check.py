"""The check of datasets in Cityscapes' layout at the start of a training."""

from pathlib import Path

from mmseg.datasets import CityscapesDataset
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from ...data.quick import LABELS, checked, quick_cityscapes
from ...openmmlab.inputs.dataset_check import DatasetCheckHook, say


@HOOKS.register_module()
class CheckDatasetHook(DatasetCheckHook):
    """Refuse to train on a faulty dataset in Cityscapes' layout; others are passed over, and that is logged.

    It looks at every file of the training and validation split: names, missing files, headers, sizes, truncated files.
    Values are read in ``labels`` label files per split, evenly spaced: a wrong table of ids is in all of them, a single
    wrong file can be missed, which ``tools/check_dataset.py`` finds. Seconds on Cityscapes.

    Args:
        mode: as in :class:`.DatasetCheckHook`.
        labels: label files per split whose pixels are read; 0 reads all, which takes a minute per CPU core.
    """

    def __init__(self, mode: str = "error", labels: int = LABELS):
        super().__init__(mode)
        self.labels = labels

    def check(self, name: str, dataset: Dataset) -> str:
        place = cityscapes_split(dataset)
        if place is None:
            say(f"dataset check: {name}: a {type(dataset).__name__} in another layout than Cityscapes' is not checked")
            return ""
        root, split = place
        classes = len(dataset.metainfo["classes"])
        return checked(
            f"{name} {root}, {split}",
            lambda report: quick_cityscapes(str(root), split, report, classes, self.labels),
            say,
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
