"""An mmengine work directory: the dumped config, TIMESTAMP/vis_data/scalars.json, TIMESTAMP/TIMESTAMP.json."""

import copy
import hashlib
import json
from pathlib import Path

from .files import read_dumped_config, read_json, read_json_lines
from .run import STOCK, Run

FFC_OPTIONS = ("num_filters", "interpolate", "test_reduce", "eps", "vote_at")
INCIDENTAL = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")  # of the data loader
COMPARED = ("model", "train_dataloader", "optim_wrapper", "param_scheduler")


def logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/vis_data/scalars.json"))


def is_mmengine_run(folder: Path) -> bool:
    return bool(logs(folder)) and any(folder.glob("*.py"))


def read(folder: Path) -> Run:
    """The run of a work directory, with the score of its last validation.

    Raises:
        ValueError: a file is malformed or lacks a key; the message names it.
    """
    configs = sorted(folder.glob("*.py"))
    if len(configs) > 1:
        raise ValueError(
            f"{folder} holds the configs of several runs ({', '.join(path.name for path in configs)}); "
            "give each its own --work-dir"
        )
    cfg = read_dumped_config(configs[0])
    entries = [entry for log in logs(folder) for entry in read_json_lines(log)]
    try:
        max_iterations = cfg["train_cfg"]["max_iters"]
        head = cfg["model"]["decode_head"]
        variant, reduction, key = _variant(head), reduction_of(cfg), _key(cfg)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{configs[0]} is no training config by iterations: {error} is missing") from error
    iteration = max((entry["step"] for entry in entries if "loss" in entry and "step" in entry), default=0)
    seed = (cfg.get("randomness") or {}).get("seed")
    run = Run(folder, "mmseg", configs[0].stem, key, variant, seed, min(iteration, max_iterations), max_iterations)
    tested = [entry for entry in entries if "mIoU" in entry]
    if run.finished and tested and tested[-1].get("step", -1) >= max_iterations:
        run.add_scores(reduction, tested[-1], logs(folder)[-1])
    return run


def tests(folder: Path) -> list[tuple[Path, str, str, dict]]:
    """What mmseg's ``test.py`` left in a work directory: (file, checkpoint, reduction, metrics) of each test.

    Raises:
        ValueError: a file is malformed; the message names it.
    """
    found = []
    for path in sorted(folder.glob("*/*.json")):
        config = path.parent / "vis_data" / "config.py"
        if path.stem != path.parent.name or not config.is_file():
            continue
        metrics = read_json(path)
        if "mIoU" in metrics:
            cfg = read_dumped_config(config)
            found.append((path, cfg.get("load_from") or "", reduction_of(cfg), metrics))
    return found


def reduction_of(cfg: dict) -> str:
    """The reduction that a dumped config evaluates with; 'stock' for a stock head."""
    head = cfg["model"]["decode_head"]
    return head.get("test_reduce", "vote") if head["type"].split(".")[-1].startswith("FFC") else STOCK


def _variant(head: dict) -> str:
    if not head["type"].split(".")[-1].startswith("FFC"):
        return STOCK
    options = [f"{name}={head[name]}" for name in FFC_OPTIONS
               if name in head and name != "test_reduce" and (name, head[name]) != ("num_filters", 3)]
    return " ".join(["FFC", *options])


def _key(cfg: dict) -> str:
    compared = copy.deepcopy({name: cfg[name] for name in COMPARED})
    head = compared["model"]["decode_head"]
    head["type"] = head["type"].split(".")[-1].removeprefix("FFC")
    for name in FFC_OPTIONS:
        head.pop(name, None)
    for name in INCIDENTAL:
        compared["train_dataloader"].pop(name, None)
    compared["max_iters"] = cfg["train_cfg"]["max_iters"]
    return hashlib.sha256(json.dumps(compared, sort_keys=True, default=str).encode()).hexdigest()[:12]
