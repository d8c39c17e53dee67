"""Keys of an mmengine config that would fail late, or would be passed over in silence."""

import copy
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from mmengine.config import Config

from ...errors import UserError
from ...frameworks import FRAMEWORKS, MMSEG, Framework
from .config_errors import class_of, unregistered_type

RUNNER_KEYS = ("model", "work_dir", "train_dataloader", "val_dataloader", "test_dataloader", "train_cfg", "val_cfg",
               "test_cfg", "optim_wrapper", "param_scheduler", "val_evaluator", "test_evaluator", "default_hooks",
               "custom_hooks", "custom_imports", "load_from", "launcher", "env_cfg", "log_processor", "visualizer",
               "default_scope", "randomness")  # fmt: skip


def check_config(cfg: Config, trains: bool = False) -> None:
    """Refuse top-level keys that resemble one that mmengine reads, which it would pass over in silence, and what the
    framework's own ``check_classes`` finds; for a training also an unknown optimizer, and schedules that end before
    they begin.

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
    own = checks_of(cfg)
    loaders = ("train_dataloader", "val_dataloader") if trains else ("test_dataloader",)
    for name, dataset in datasets_of(cfg, loaders) if own else ():
        own.check_classes(cfg.model, dataset, name)


def check_framework(cfg: Config, own: Framework) -> None:
    """Refuse a config whose ``default_scope`` is another of our frameworks than ``own``, which could not build it.

    Raises:
        UserError: the message says what takes it.
    """
    scope = cfg.get("default_scope")
    other = next((row for row in FRAMEWORKS if row.scope and row.scope == scope and row is not own), None)
    if other is not None:
        raise UserError(
            f"{cfg.filename or 'the config'} is one of {other.title} (default_scope), expected one of {own.title}; "
            f"ffc-dense takes both, and in Python {other.adapter}"
        )


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


def check_folders(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Refuse datasets whose folders lack what the framework's own ``check_folder`` looks for.

    Raises:
        UserError: the message names the key and the folder.
    """
    own = checks_of(cfg)
    for name, dataset in datasets_of(cfg, loaders) if own else ():
        own.check_folder(dataset, name)


def checks_of(cfg: Config) -> ModuleType | None:
    """``inputs/config_checks.py`` of the adapter whose framework the ``default_scope`` names; mmseg's without one.

    Its ``check_classes(model, dataset, name)`` and ``check_folder(dataset, name)`` raise a UserError. None: the scope
    is that of another framework, or of one that is not installed.
    """
    scope = cfg.get("default_scope") or MMSEG.scope
    row = next((row for row in FRAMEWORKS if row.scope == scope and find_spec(row.package)), None)
    return import_module(f"{row.adapter}.inputs.config_checks") if row else None


def datasets_of(cfg: Config, loaders: tuple[str, ...]) -> Iterator[tuple[str, Mapping]]:
    """(path of the key, config) of every dataset of the config."""
    for loader in loaders:
        yield from wrapped_datasets((cfg.get(loader) or {}).get("dataset"), f"{loader}.dataset")


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


def refuse_one_string(classes: object, key: str) -> None:
    """Refuse ``classes`` that are a string, which stands for a file with a name on each line that is not there.

    Raises:
        UserError: the message names ``key``.
    """
    if isinstance(classes, str):
        raise UserError(
            f"{key}: {classes!r} is one string, and no file of that name is there; expected a list of names. In Python "
            f"one name needs a comma: classes=({classes!r},)"
        )
