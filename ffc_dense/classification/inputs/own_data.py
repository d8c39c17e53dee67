"""``--data FOLDER``: a folder of images per class in the place of a config's dataset, without a line of Python.

::

    FOLDER/train/CLASS/*.jpg
    FOLDER/val/CLASS/*.jpg    of the same classes; what is validated and tested on
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from ...errors import UserError
from ...openmmlab.inputs.config_checks import wrapped_datasets
from ...openmmlab.inputs.config_errors import type_name

SPLITS = {"train_dataloader": "train", "val_dataloader": "val", "test_dataloader": "val"}
READS = {"train": ("train", "val"), "evaluate": ("val",), "analyze": ("val",)}  # of the commands; others read none
REPLACED = ("ImageNet", "CustomDataset", "ClassFolders")  # their other arguments fit ClassFolders


@DATASETS.register_module()
class ClassFolders(CustomDataset):
    """Identical to mmpretrain's ``CustomDataset``, except that it takes the argument ``split`` of ``ImageNet``.

    Args:
        split: the folder below ``data_root`` if there is no ``data_prefix``.
    """

    def __init__(self, *args, split: str = "", data_prefix: str | dict = "", **kwargs):
        super().__init__(*args, data_prefix=data_prefix or split, **kwargs)


def own_data_options(cfg: Config, folder: str | Path, command: str) -> list[str]:
    """KEY=VALUE overrides of ``cfg`` with which ``command`` runs on ``folder``.

    They set the datasets' type and paths, every number of classes, and with fewer than five classes the evaluators'
    ``topk``.

    Raises:
        UserError: what ``command`` reads of the folder is not there, or the config's dataset is of another kind.
    """
    folder = Path(folder).absolute()
    if set(str(folder)) & set(" ,()[]'\"="):
        raise UserError(
            f"--data {folder}: mmengine's options pass no path with spaces, commas, brackets or quotes; link it"
        )
    found = {split: _classes(folder, split) for split in READS.get(command, ())}
    number = len(next(iter(found.values()), ())) or max(len(_folders(folder / split)) for split in ("train", "val"))
    if not number:
        raise UserError(f"--data: {folder} has no class folders in train/ or val/")
    model = {"model": cfg.get("model") or {}, "data_preprocessor": cfg.get("data_preprocessor") or {}}
    options = [f"{key}={number}" for name, node in model.items() for key in _class_counts(node, name)]
    for loader, split in SPLITS.items():
        for path, dataset in wrapped_datasets((cfg.get(loader) or {}).get("dataset"), f"{loader}.dataset"):
            if (kind := type_name(dataset)) not in REPLACED:
                raise UserError(f"--data: {path} is a {kind}; take a config of {' or '.join(REPLACED[:2])}")
            options += [f"{path}.type=ClassFolders", f"{path}.data_root={folder}", f"{path}.data_prefix={split}"]
            options += [f"{path}.ann_file="] * bool(dataset.get("ann_file"))
    return options + [f"{key}=1" for key in _too_long_topk(cfg, number)]


def _folders(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir() if each.is_dir()) if place.is_dir() else []


def _classes(folder: Path, split: str) -> list[str]:
    names = _folders(folder / split)
    if not names:
        raise UserError(f"--data: there is no folder {folder / split} with a folder per class; add it")
    return names


def _class_counts(node: object, path: str) -> Iterator[str]:
    """Keys of the numbers of classes."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "num_classes":
                yield f"{path}.{key}"
            yield from _class_counts(value, f"{path}.{key}")
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _class_counts(value, f"{path}.{index}")


def _too_long_topk(cfg: Config, number: int) -> Iterator[str]:
    """Keys of the evaluators' ``topk`` that ask for more classes than there are."""
    for name in ("val_evaluator", "test_evaluator"):
        given = cfg.get(name) or {}
        named = {name: given} if isinstance(given, Mapping) else {f"{name}.{i}": each for i, each in enumerate(given)}
        for path, each in named.items():
            topk = each.get("topk", 1)
            if max([topk] if isinstance(topk, int) else topk) > number:
                yield f"{path}.topk"
