"""``--data FOLDER``: a folder with a folder per class in the place of a config's dataset, without a line of Python.

::

    FOLDER/train/cat/*.jpg    FOLDER/train/dog/*.jpg    the names of the folders are those of the classes
    FOLDER/val/cat/*.jpg      FOLDER/val/dog/*.jpg      what is validated and tested on
"""

import re
from pathlib import Path

from mmengine.config import Config

from ...errors import UserError
from ...errors.wording import walk
from ...openmmlab.inputs.config_checks import wrapped_datasets
from ...openmmlab.inputs.config_errors import type_name
from ...openmmlab.inputs.read_config import own_folder

METRIC = r"^(val|test)_evaluator(\.metrics)?(\.\d+)?\.topk$"
SPLITS = {"train_dataloader": "train", "val_dataloader": "val", "test_dataloader": "val"}
READS = {"train": ("train", "val"), "evaluate": ("val",), "analyze": ("val",)}  # of the commands; others read none


def own_data_options(cfg: Config, folder: str | Path, command: str) -> list[str]:
    """KEY=VALUE overrides of ``cfg`` with which ``command`` runs on ``folder``.

    They set the datasets' type and paths, every number of classes, and leave a Top-5 out that so few classes have not.

    Raises:
        UserError: what ``command`` reads of the folder is not there, or the config's images are clips.
    """
    folder = own_folder(folder)
    number = len(_class_folders(folder, READS.get(command, ())))
    tree = cfg.to_dict()
    parts = {key: tree.get(key) for key in ("model", "data_preprocessor", "val_evaluator", "test_evaluator")}
    options = [f"{path}={number}" for path, _ in walk(parts) if path.endswith(".num_classes")]
    tops = ((path, top) for path, top in walk(parts) if re.match(METRIC, path))
    options += [f"{path}=1" for path, top in tops if max(top if isinstance(top, list | tuple) else [top]) > number]
    for loader, split in SPLITS.items():
        for path, dataset in wrapped_datasets((cfg.get(loader) or {}).get("dataset"), f"{loader}.dataset"):
            if type_name(dataset) == "HMDB51":
                raise UserError(
                    f"--data: {path} is one of clips, in the layout of HMDB51: give {path}.data_root with --cfg-options"
                )
            # ImageNet is CustomDataset with a split, which an override cannot take away.
            values = {"type": "mmpretrain.ImageNet", "split": ""} if "split" in dataset else {
                "type": "mmpretrain.CustomDataset"
            }  # fmt: skip
            values |= {"data_root": str(folder), "data_prefix": split, "ann_file": "", "metainfo.classes": None}
            values |= {"classes": None} if "classes" in dataset else {}
            options += [f"{path}.{key}={value}" for key, value in values.items()]
    return options


def _class_folders(folder: Path, splits: tuple[str, ...]) -> list[str]:
    """Names of the classes: of the training, where it is there."""
    found = {}
    for split in ("train", "val"):
        below = folder / split
        folders = below.iterdir() if below.is_dir() else ()
        found[split] = sorted(each.name for each in folders if each.is_dir() and not each.name.startswith("."))
        if split in splits and not found[split]:
            raise UserError(f"--data: {below} has no folder per class; {folder} needs train/CLASS/ and val/CLASS/")
    if len(splits) > 1 and (apart := set(found["train"]) ^ set(found["val"])):
        raise UserError(
            f"--data: {folder}: train/ and val/ need the same class folders; only one has {', '.join(sorted(apart))}"
        )
    names = found["train"] or found["val"]
    if not names:
        raise UserError(f"--data: {folder} has neither train/CLASS/ nor val/CLASS/, which tell the classes")
    return names
