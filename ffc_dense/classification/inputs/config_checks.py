"""What mmpretrain's configs say of heads and datasets, checked before anything is built."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from ...errors import UserError
from ...openmmlab.inputs.config_checks import datasets_of, metainfo_of, refuse_one_string
from ...openmmlab.inputs.config_errors import type_name


def check_classes(model: Mapping, dataset: Mapping, name: str) -> None:
    """Refuse a head, or class folders, of another number of classes than ``dataset``, whose key is ``name``, has."""
    classes = metainfo_of({**dataset, "metainfo": {"classes": given}} if (given := dataset.get("classes")) else dataset)
    classes = classes.get("classes") or ()
    refuse_one_string(classes, f"{name}.classes")
    number, what, kind = len(classes), "classes", type_name(dataset)
    folder = _class_folders(dataset)
    if folder is not None and folder.is_dir():
        found = sum(each.is_dir() for each in folder.iterdir())
        if number and found != number:
            raise UserError(
                f"{name}: {folder} has {found} class folders, {kind} has {number} classes; correct data_root, or for a "
                f"data set of your own take type='CustomDataset', data_prefix and model.head.num_classes={found}"
            )
        number, what = found, f"class folders in {folder}"
    model, above = (model["member"], "model.member") if "member" in model else (model, "model")  # of an ensemble
    own = (model.get("head") or {}).get("num_classes")
    if number and isinstance(own, int) and own != number:
        raise UserError(
            f"{above}.head.num_classes: {own}, but {name}, a {kind}, has {number} {what}; set it to {number}"
        )


def check_images(cfg: Config, what: str) -> None:
    """Refuse a config whose test set holds clips where images are meant.

    Args:
        what: takes images, for the message.

    Raises:
        UserError: the message names the key.
    """
    for name, dataset in datasets_of(cfg, ("test_dataloader",)):
        if any(type_name(step) == "LoadClips" for step in dataset.get("pipeline") or ()):
            raise UserError(
                f"{name}: it holds clips, and {what} takes images; ffc-dense predict and evaluate take both"
            )


def check_folder(dataset: Mapping, name: str) -> None:
    """Refuse a dataset of class folders whose folder is not there."""
    folder = _class_folders(dataset)
    if folder is not None and not folder.is_dir():
        raise UserError(
            f"{name}.data_root, .split, .data_prefix: there is no folder {folder}; correct the path, or lay the "
            "dataset out as docs/how-to/datasets.md says"
        )


def _class_folders(dataset: Mapping) -> Path | None:
    """The folder with a folder per class; None: the dataset has another layout, or lies elsewhere than in files."""
    root = str(dataset.get("data_root") or "")
    split = dataset.get("split") or ""
    kind = type_name(dataset)
    if kind not in ("ImageNet", "CustomDataset") or dataset.get("ann_file") or "://" in root:
        return None
    if kind == "ImageNet" and (split == "test" or Path(root, "meta", f"{split}.txt").is_file()):
        return None
    prefix = dataset.get("data_prefix") or split
    return Path(root, prefix if isinstance(prefix, str) else prefix.get("img_path") or "")


def takes_videos(cfg: Mapping) -> bool:
    """Whether a config tests on videos, which ``ffc_dense.video`` serves."""
    return type_name((cfg.get("test_dataloader") or {}).get("dataset")) == "HMDB51"
