"""The check of mmseg's datasets at the start of a training."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmseg.datasets import CityscapesDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from ...data.masks import check_masks
from ...data.quick import LABELS, checked, quick_cityscapes
from ...data.report import Report
from ...openmmlab.inputs.dataset_check import DatasetCheckHook, say


@HOOKS.register_module()
class CheckDatasetHook(DatasetCheckHook):
    """Refuse to train on a faulty dataset: one without images, or whose images lack a mask, or whose masks hold other
    values than 0 to K-1 and 255. Datasets that name no files of masks are passed over, and that is logged.

    It looks at every file of the training and validation split: missing files, headers, sizes, truncated files; in
    Cityscapes' layout names too. Values are read in ``labels`` label files per split, evenly spaced and as mmseg reads
    them (``reduce_zero_label``, a choice of classes): a wrong table of ids is in all of them, a single wrong file can
    be missed. Seconds on Cityscapes.

    Args:
        mode: as in :class:`.DatasetCheckHook`.
        labels: label files per split whose pixels are read; 0 reads all, which takes a minute per CPU core.
    """

    def __init__(self, mode: str = "error", labels: int = LABELS):
        super().__init__(mode)
        self.labels = labels

    def check(self, name: str, dataset: Dataset) -> str:
        found = (self._check(place, each) for place, each in _unwrapped(name, dataset))
        return "\n".join(problem for problem in found if problem)

    def _check(self, name: str, dataset: Dataset) -> str:
        place = cityscapes_split(dataset)
        if place is not None:
            root, split = place
            classes = len(dataset.metainfo["classes"])
            return checked(
                f"{name} {root}, {split}",
                lambda report: quick_cityscapes(str(root), split, report, classes, self.labels),
                say,
            )
        classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
        if not classes or not hasattr(dataset, "get_data_info") or getattr(dataset, "backend_args", None):
            say(f"dataset check: {name}: a {type(dataset).__name__} without classes or local files is not checked")
            return ""
        return checked(f"{name}, a {type(dataset).__name__}", partial(self._check_pairs, dataset, classes), say)

    def _check_pairs(self, dataset, classes, report: Report) -> None:
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        where = dataset.data_prefix.get("img_path") or dataset.data_root
        if not infos:
            report.add("empty-folder", where, f"no image that ends with {getattr(dataset, 'img_suffix', '')}",
                       "correct data_root, data_prefix or img_suffix")  # fmt: skip
            return
        if not all("img_path" in info and "seg_map_path" in info for info in infos):
            report.note("it names no files of images and masks, and is not checked")
            return
        loader = next((step for step in dataset.pipeline.transforms if isinstance(step, LoadAnnotations)), None)
        pairs = [(info["img_path"], info["seg_map_path"]) for info in infos]

        def read(index: int):
            return loader.transform(dict(infos[index], seg_fields=[]))["gt_seg_map"]

        check_masks(pairs, len(classes), read if loader else None, self.labels, report)


def _unwrapped(name: str, dataset: Dataset) -> Iterator[tuple[str, Dataset]]:
    """(name, dataset) of those in wrappers such as RepeatDataset and ConcatDataset."""
    if isinstance(getattr(dataset, "datasets", None), list | tuple):
        for index, each in enumerate(dataset.datasets):
            yield from _unwrapped(f"{name}.dataset.datasets.{index}", each)
    elif isinstance(getattr(dataset, "dataset", None), Dataset):
        yield from _unwrapped(f"{name}.dataset", dataset.dataset)
    else:
        yield name, dataset


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
