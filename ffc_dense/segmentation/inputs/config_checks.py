"""What mmseg's configs say of heads and datasets, checked before anything is built."""

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
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
    """Refuse a dataset whose folders of images or labels are missing or empty; mmengine fails on it in words of numpy.

    Looked at are those whose class takes ``img_suffix`` and ``seg_map_suffix``, and local folders alone.
    """
    defaults = _defaults(class_of(dataset))
    value = {**defaults, **dataset}
    if not defaults.keys() >= {"img_suffix", "seg_map_suffix", "data_prefix"} or value.get("backend_args"):
        return
    root = value.get("data_root") or ""
    if value.get("ann_file"):
        path = Path(root, value["ann_file"])
        if not path.exists():
            raise UserError(f"{name}.ann_file: there is no {path}; correct the path")
        return
    for key, suffix in (("img_path", value["img_suffix"]), ("seg_map_path", value["seg_map_suffix"])):
        below = (value["data_prefix"] or {}).get(key)
        if not below:
            continue
        folder = Path(root, below)
        fault = "there is no folder" if not folder.is_dir() else ""
        if not fault and not _holds(folder, suffix):
            fault = f"no file ends with {suffix} in"
        if fault:
            raise UserError(
                f"{name}.data_root, .data_prefix.{key}: {fault} {folder}; correct the path, or lay the dataset out as "
                "docs/how-to/datasets.md says"
            )


def _defaults(kind: Callable | None) -> dict:
    """The default values of a class's arguments, its bases' included."""
    found: dict = {}
    for base in reversed(kind.__mro__ if inspect.isclass(kind) else ()):
        if "__init__" in vars(base):
            with suppress(TypeError, ValueError):  # written in C
                parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
                found |= {each.name: each.default for each in parameters if each.default is not each.empty}
    return found


def _holds(folder: Path, suffix: str) -> bool:
    """Whether a file below the folder, or below a link in it, has a name that ends with ``suffix``."""
    return any(name.endswith(suffix) for _, _, names in os.walk(folder, followlinks=True) for name in names)
