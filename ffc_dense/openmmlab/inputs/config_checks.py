"""Keys of an mmseg config that would fail late, or would be passed over in silence."""

import copy
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from mmengine.config import Config

from ...errors import UserError
from .config_errors import class_of, type_name, unregistered_type

RUNNER_KEYS = ("model", "work_dir", "train_dataloader", "val_dataloader", "test_dataloader", "train_cfg", "val_cfg",
               "test_cfg", "optim_wrapper", "param_scheduler", "val_evaluator", "test_evaluator", "default_hooks",
               "custom_hooks", "custom_imports", "load_from", "launcher", "env_cfg", "log_processor", "visualizer",
               "default_scope", "randomness")  # fmt: skip


def check_config(cfg: Config, trains: bool = False) -> None:
    """Refuse numbers of classes that differ, and top-level keys that resemble one that mmengine reads, which it would
    pass over in silence; for a training also an unknown optimizer, and schedules that end before they begin.

    Args:
        trains: whether ``cfg`` is for a training, which reads the training and the validation set, or for a test, which
            reads the test set alone.

    Raises:
        UserError: the message names the key.
    """
    for key in cfg:
        near = "" if key in RUNNER_KEYS else closest_runner_key(key)
        if near:
            raise UserError(f"{key}: nothing reads this key; did you mean {near}?")
    if "model" not in cfg:
        raise UserError("model: the config has no such key; add it, or name a _base_ that has it")
    if trains:
        _check_schedule(cfg)
    for loader in ("train_dataloader", "val_dataloader") if trains else ("test_dataloader",):
        dataset = (cfg.get(loader) or {}).get("dataset")
        for name, each in wrapped_datasets(dataset, f"{loader}.dataset"):
            _check_classes(cfg.model, each, name)


def _check_schedule(cfg: Config) -> None:
    optimizer = (cfg.get("optim_wrapper") or {}).get("optimizer")
    if isinstance(optimizer, dict) and isinstance(optimizer.get("type"), str) and class_of(optimizer) is None:
        raise UserError(unregistered_type(optimizer.type, "optimizer", cfg.to_dict()))
    schedulers = cfg.get("param_scheduler")
    for index, each in enumerate(schedulers if isinstance(schedulers, list) else [schedulers]):
        begin, end = (each or {}).get("begin", 0), (each or {}).get("end")
        if isinstance(begin, int) and isinstance(end, int) and end <= begin:
            raise UserError(
                f"param_scheduler.{index}: end {end} should be larger than begin {begin}, where the warm-up ends; "
                "train longer, or shorten the warm-up"
            )


def closest_runner_key(key: str) -> str:
    return next(iter(get_close_matches(key, RUNNER_KEYS, 1, 0.9)), "")


def wrapped_datasets(dataset: Mapping | None, name: str) -> Iterator[tuple[str, Mapping]]:
    """(path of the key, config) of the datasets that are in wrappers such as RepeatDataset, or of ``dataset`` itself.

    Args:
        name: the path of ``dataset``.
    """
    if not isinstance(dataset, Mapping):
        return
    inner = {f"{name}.dataset": dataset.get("dataset")}
    if isinstance(dataset.get("datasets"), list | tuple):
        inner |= {f"{name}.datasets.{index}": each for index, each in enumerate(dataset["datasets"])}
    found = [pair for place, each in inner.items() for pair in wrapped_datasets(each, place)]
    yield from found or [(name, dataset)]


def metainfo_of(dataset: Mapping) -> dict:
    """``classes``, ``palette`` and so on of a dataset's config: those of its class under its own ``metainfo``."""
    kind, own = class_of(dataset), dataset.get("metainfo")
    own = copy.deepcopy(dict(own)) if isinstance(own, Mapping) else {}
    if hasattr(kind, "_load_metainfo"):  # a value may be the path of a file with a name on each line
        return kind._load_metainfo(own)
    return {**(getattr(kind, "METAINFO", None) or {}), **own}


def _check_classes(model: Mapping, dataset: Mapping, name: str) -> None:
    metainfo = metainfo_of(dataset)
    classes = metainfo.get("classes")
    if not classes:
        return
    if isinstance(classes, str):
        raise UserError(
            f"{name}.metainfo.classes: {classes!r} is one string, and no file of that name is there; expected a list "
            f"of names. In Python one name needs a comma: classes=({classes!r},)"
        )
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


def check_folders(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Refuse datasets whose folders of images or labels are missing or empty; mmengine fails on them in words of numpy.

    Looked at are those whose class takes ``img_suffix`` and ``seg_map_suffix``, and local folders alone.
    """
    for loader in loaders:
        for name, dataset in wrapped_datasets((cfg.get(loader) or {}).get("dataset"), f"{loader}.dataset"):
            _check_folders(dataset, name)


def _check_folders(dataset: Mapping, name: str) -> None:
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
                "docs/DATASETS.md says"
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
