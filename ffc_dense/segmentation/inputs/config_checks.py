"""What mmseg's configs say of heads and datasets, checked before anything is built."""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path

from ...errors import UserError
from ...openmmlab.inputs.config_checks import metainfo_of, refuse_one_string
from ...openmmlab.inputs.config_errors import class_of, type_name


def check_classes(model: Mapping, dataset: Mapping, name: str) -> None:
    """Refuse heads of another number of classes than ``dataset``, whose key is ``name``, has."""
    metainfo = metainfo_of(dataset)
    classes = metainfo.get("classes")
    if not classes:
        return
    refuse_one_string(classes, f"{name}.metainfo.classes")
    palette = metainfo.get("palette") or []
    if any(not isinstance(colour, list | tuple) or len(colour) != 3 for colour in palette):
        raise UserError(
            f"{name}.metainfo.palette: expected a colour (R, G, B) for each class, got {palette!r:.80}. In Python one "
            "colour needs a comma: palette=((128, 0, 0),)"
        )
    model, above = (model["member"], "model.member") if "member" in model else (model, "model")  # of an ensemble
    for part in ("decode_head", "auxiliary_head"):
        heads = model.get(part) or ()
        for index, head in enumerate(heads if isinstance(heads, list | tuple) else [heads]):
            if type_name(head) == "STDCHead":  # detects boundaries, with two classes of its own
                continue
            number = head.get("num_classes")
            path = f"{above}.{part}" + (f".{index}" if isinstance(heads, list | tuple) else "") + ".num_classes"
            if isinstance(number, int) and number != len(classes):
                raise UserError(
                    f"{path}: {number}, but {name}, a {type_name(dataset)}, has {len(classes)} classes; set it to "
                    f"{len(classes)}, or name the classes in {name}.metainfo"
                )


def check_folder(dataset: Mapping, name: str) -> None:
    """Refuse a dataset in Cityscapes' layout without images or labels; mmengine fails on them in words of numpy."""
    kind = class_of(dataset)
    if not (inspect.isclass(kind) and kind.__name__ == "CityscapesDataset") or dataset.get("ann_file"):
        return
    suffixes = {"img_path": dataset.get("img_suffix", "_leftImg8bit.png"),
                "seg_map_path": dataset.get("seg_map_suffix", "_gtFine_labelTrainIds.png")}  # fmt: skip
    for key, suffix in suffixes.items():
        below = (dataset.get("data_prefix") or {}).get(key)
        if not below:
            continue
        folder = Path(dataset.get("data_root") or "", below)
        fault = "there is no folder" if not folder.is_dir() else ""
        if not fault and not _holds(folder, suffix):
            fault = f"no file ends with {suffix} in"
        if fault:
            raise UserError(
                f"{name}.data_root, .data_prefix.{key}: {fault} {folder}; correct the path, or lay the dataset out as "
                "docs/DATASETS.md says"
            )


def _holds(folder: Path, suffix: str) -> bool:
    """Whether a file below the folder, or below a link in it, has a name that ends with ``suffix``."""
    return any(name.endswith(suffix) for _, _, names in os.walk(folder, followlinks=True) for name in names)
