"""``--data FOLDER``: a folder of images and masks in the place of a config's dataset, without a line of Python.

::

    FOLDER/classes.txt      the names of the classes, one per line: the first is 0 in the masks
    FOLDER/images/train/    images; those of val are what is validated and tested on
    FOLDER/images/val/
    FOLDER/masks/train/     for each image a mask of its name: one number per pixel, a class or 255, which is ignored
    FOLDER/masks/val/
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config

from ...errors import UserError
from ...openmmlab.inputs.config_checks import wrapped_datasets
from ...openmmlab.inputs.config_errors import type_name
from ...openmmlab.inputs.read_config import own_folder
from ...pictures.reading import SUFFIXES

NAMES = "classes.txt"
SPLITS = {"train_dataloader": "train", "val_dataloader": "val", "test_dataloader": "val"}
READS = {"train": ("train", "val"), "evaluate": ("val",), "analyze": ("val",)}  # of the commands; others read none


def own_data_options(cfg: Config, folder: str | Path, command: str) -> list[str]:
    """KEY=VALUE overrides of ``cfg`` with which ``command`` runs on ``folder``.

    They set the datasets' type, paths, suffixes and classes, and every head's number of classes.

    Raises:
        UserError: what ``command`` reads of the folder is not there, or not as above.
    """
    folder = own_folder(folder)
    names = _class_names(folder)
    image, mask = (_suffix(folder, kind, READS.get(command, ())) for kind in ("images", "masks"))
    options = [f"{key}={len(names)}" for key in _class_counts(cfg.get("model") or {}, "model")]
    for loader, split in SPLITS.items():
        for path, dataset in wrapped_datasets((cfg.get(loader) or {}).get("dataset"), f"{loader}.dataset"):
            values = {
                "type": "mmseg.BaseSegDataset", "data_root": str(folder), "ann_file": "",
                "data_prefix.img_path": f"images/{split}", "data_prefix.seg_map_path": f"masks/{split}",
                "img_suffix": image, "seg_map_suffix": mask, "reduce_zero_label": False,
                "metainfo.classes": str(folder / NAMES), "metainfo.palette": "[]",
            }  # fmt: skip
            steps = enumerate(dataset.get("pipeline") or [])
            loads = [index for index, step in steps if type_name(step) == "LoadAnnotations"]
            values |= {f"pipeline.{index}.reduce_zero_label": None for index in loads}  # as the dataset says
            options += [f"{path}.{key}={value}" for key, value in values.items()]
    return options


def _class_names(folder: Path) -> list[str]:
    path = folder / NAMES
    if not path.is_file():
        raise UserError(f"--data: there is no {path}; write the names of the classes into it, one per line")
    names = path.read_text(encoding="utf-8").splitlines()
    if not names or not all(name.strip() for name in names) or len(set(names)) < len(names):
        raise UserError(f"--data: {path}: expected a name on each line, each name once, got {names!r:.200}")
    return names


def _suffix(folder: Path, kind: str, splits: tuple[str, ...]) -> str:
    """The one suffix of the images or masks, of which mmseg takes one."""
    found = set()
    for split in splits:
        below = folder / kind / split
        if not below.is_dir():
            raise UserError(f"--data: there is no folder {below}; images/ and masks/ have train/ and val/ each")
        here = {path.suffix for path in below.rglob("*") if path.suffix.lower() in SUFFIXES}
        if not here:
            raise UserError(f"--data: {below} holds no file that ends with {', '.join(SUFFIXES)}")
        found |= here
    if len(found) > 1:
        raise UserError(
            f"--data: {folder / kind} holds files with {' and '.join(sorted(found))}, of which mmseg reads one; "
            "convert them, or give each split its own config"
        )
    return next(iter(found), ".jpg" if kind == "images" else ".png")


def _class_counts(node: object, path: str) -> Iterator[str]:
    """Keys of the heads' numbers of classes."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "num_classes" and "loss" not in path and type_name(node) != "STDCHead":  # of boundaries
                yield f"{path}.{key}"
            yield from _class_counts(value, f"{path}.{key}")
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _class_counts(value, f"{path}.{index}")
