"""An mmengine work directory: TIMESTAMP/vis_data/{config.py,scalars.json}, TIMESTAMP/TIMESTAMP.{json,log}.

A folder TIMESTAMP belongs to one command. ``NAME.py`` above them is the config of the last command of any kind, so only
the run's name is taken from it.
"""

import copy
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..frameworks import FRAMEWORKS, MMSEG, Framework
from ..method import options
from .files import is_number, read_dumped_config, read_json, read_json_lines
from .run import STOCK, Evaluation, Run

HEAD_OPTIONS = ("vote_at",)  # of FFC's heads, besides those of the layer
INCIDENTAL = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")  # of the data loader
COMPARED = ("model", "train_dataloader", "optim_wrapper", "param_scheduler")  # mixed precision is optim_wrapper.type
GUESSED = "no vis_data/config.py of the training: seed and settings are those of the last command in the folder"
TTA = "test-time augmentation (--tta)"


@dataclass
class Training:
    """One training command: its log, its lines, and the config that it dumped (None if there is none)."""

    log: Path
    entries: list[dict]
    config: Path | None

    @property
    def steps(self) -> int:
        """The last iteration that was logged, by the loss or by a validation."""
        return max((entry.get("step", 0) for entry in self.entries), default=0)


def trainings(folder: Path) -> list[Training]:
    """The training commands of ``folder``, in order. A test logs no step."""
    found = []
    for log in sorted(folder.glob("*/vis_data/scalars.json")):
        config = log.parent / "config.py"
        found.append(Training(log, read_json_lines(log), config if config.is_file() else None))
    return [training for training in found if training.steps > 0]


def is_run(folder: Path) -> bool:
    return any(folder.glob("*/vis_data/scalars.json")) and any(folder.glob("*.py")) and bool(trainings(folder))


def read(folder: Path) -> Run:
    """The run of a work directory, with the score of its own last validation.

    Of a resumed training, seed and initial weights are those of its first start, which mmengine keeps; the rest is that
    of the last.

    Raises:
        ValueError: a file is malformed or lacks a key; the message names it.
    """
    commands = trainings(folder)
    name = _name(folder, commands[-1])
    commands = since_last_start(commands, folder / f"{name}.py")
    paths = [training.config or folder / f"{name}.py" for training in commands]
    configs = [read_dumped_config(path) for path in paths]
    first, last = configs[0], configs[-1]
    framework = framework_of(last)
    try:
        max_iterations, unit = length_of(last["train_cfg"])
        head = last["model"][framework.head]
        variant, reduction = _variant(head), reduction_of(last)
        key = _key(last, first.get("load_from"), _world_size(commands[0].log))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{paths[-1]} is no training config of {framework.title}: {error} is missing") from error
    run = Run(
        folder, framework, name, key, variant, (first.get("randomness") or {}).get("seed"),
        min(_iteration(folder, commands, last), max_iterations), max_iterations,
        identity_note="" if all(training.config for training in commands) else GUESSED, unit=unit,
    )  # fmt: skip
    main = framework.logged(framework.main_metric)
    tested = [entry for training in commands for entry in training.entries if main in entry]
    if run.finished and tested and tested[-1].get("step", -1) >= max_iterations:
        run.add_scores(reduction, without_prefix(tested[-1], framework), commands[-1].log)
    return run


def framework_of(cfg: dict) -> Framework:
    """The framework of a dumped config; MMSegmentation for an unknown scope."""
    return next((row for row in FRAMEWORKS if row.scope and row.scope == cfg.get("default_scope")), MMSEG)


def length_of(train_cfg: dict) -> tuple[int, str]:
    """The length of a training and its unit: 'iteration' or 'epoch'."""
    by_epoch = train_cfg.get("by_epoch") or "EpochBased" in str(train_cfg.get("type"))
    return (train_cfg["max_epochs"], "epoch") if by_epoch else (train_cfg["max_iters"], "iteration")


def without_prefix(scores: dict, framework: Framework) -> dict:
    """{'accuracy/top1': x} -> {'top1': x}"""
    return {key.removeprefix(framework.log_prefix): value for key, value in scores.items()}


def log_entries(run: Run) -> list[dict]:
    """The lines of the run's log, each with ``iterations``: the number done when it was written.

    In a training by epochs a validation logs the epoch; it gets the last iteration that was logged before it.
    """
    folder = Path(run.folder)
    main = run.framework.logged(run.framework.main_metric)
    found, done = [], 0
    for training in since_last_start(trainings(folder), folder / f"{run.name}.py"):
        for entry in training.entries:
            if is_number(step := entry.get("step")):
                done = done if run.unit == "epoch" and main in entry else step
                found.append({**entry, "iterations": done})
    return found


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that the run ended with; None if it is not there."""
    found = ((re.fullmatch(r"(?:iter|epoch)_(\d+)\.pth", path.name), path) for path in folder.glob("*.pth"))
    numbered = {int(match[1]): path for match, path in found if match}
    return numbered[max(numbered)] if numbered else None


def iterations_of(number: int) -> int:
    """The iterations of iter_NUMBER.pth, or the epochs of epoch_NUMBER.pth."""
    return number


def reduced_scores(results: dict) -> dict[str, dict | None]:
    """``results`` of reductions.json -> {test mode: {metric: percent}}."""
    return results


def analysis_arguments(run: Run, checkpoint: Path) -> list[str]:
    """CONFIG CHECKPOINT for the analysis of a checkpoint."""
    folder = Path(run.folder)
    training = since_last_start(trainings(folder), folder / f"{run.name}.py")[-1]
    return [str(training.config or folder / f"{run.name}.py"), str(checkpoint)]


def since_last_start(commands: list[Training], fallback: Path) -> list[Training]:
    """The commands from the last new start in the folder on; earlier ones are no part of the run.

    Args:
        fallback: the config of a command that dumped none.
    """
    configs = [read_dumped_config(training.config or fallback) for training in commands]
    return commands[max((i for i, cfg in enumerate(configs) if not cfg.get("resume")), default=0) :]


def is_test(path: Path) -> bool:
    """Whether ``test.py`` wrote this TIMESTAMP/TIMESTAMP.json."""
    return path.stem == path.parent.name and (path.parent / "vis_data" / "config.py").is_file()


def test(path: Path) -> Evaluation | None:
    """The evaluation that a framework's ``test.py`` wrote to ``path``; None for other tests (eval_cityscapes.py).

    Raises:
        ValueError: a file is malformed; the message names it.
    """
    metrics = read_json(path)
    if not any(row.logged(row.main_metric) in metrics for row in FRAMEWORKS if row.scope):
        return None
    config = path.parent / "vis_data" / "config.py"
    cfg = read_dumped_config(config)
    framework = framework_of(cfg)
    try:
        checkpoint = Path(cfg.get("load_from") or "")
        if framework.head not in cfg["model"] and "module" in cfg["model"]:  # the model is wrapped in tta_model
            return Evaluation(path, checkpoint, {}, left_out=TTA)
        return Evaluation(path, checkpoint, {reduction_of(cfg): without_prefix(metrics, framework)})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{config} is no config of {framework.title}: {error} is missing") from error


def reduction_of(cfg: dict) -> str:
    """The test mode of a dumped config; 'stock' for a stock head."""
    head = cfg["model"][framework_of(cfg).head]
    return head.get("test_reduce", "vote") if head["type"].split(".")[-1].startswith("FFC") else STOCK


def _name(folder: Path, training: Training) -> str:
    """The stem of NAME.py; of several, of the one that holds the training's config."""
    configs = sorted(folder.glob("*.py"))
    if len(configs) > 1 and training.config:
        text = training.config.read_text()
        configs = [path for path in configs if path.read_text() == text] or configs
    if len(configs) > 1:
        raise ValueError(
            f"{folder} holds the configs of several runs ({', '.join(path.name for path in configs)}); "
            "give each its own --work-dir"
        )
    return configs[0].stem


def _iteration(folder: Path, commands: list[Training], cfg: dict) -> int:
    """The last known iteration: logged, or that of the last checkpoint.

    The loss is logged every ``interval`` iterations only, so the checkpoint can be ahead by less than that. One that
    is further ahead belongs to an earlier run in the same folder.
    """
    by_epoch = length_of(cfg["train_cfg"])[1] == "epoch"
    logged = _epochs(commands, cfg) if by_epoch else max(training.steps for training in commands)
    pointer = folder / "last_checkpoint"
    found = re.search(r"(?:iter|epoch)_(\d+)\.pth\s*$", pointer.read_text()) if pointer.is_file() else None
    interval = ((cfg.get("default_hooks") or {}).get("logger") or {}).get("interval", 10)  # LoggerHook's default
    interval = 2 if by_epoch else interval
    return int(found[1]) if found and logged < int(found[1]) < logged + interval else logged


def _epochs(commands: list[Training], cfg: dict) -> int:
    """The number of finished epochs: validated, or followed by another one."""
    framework = framework_of(cfg)
    main = framework.logged(framework.main_metric)
    entries = [entry for training in commands for entry in training.entries]
    return max((each["step"] if main in each else each.get("epoch", 1) - 1 for each in entries), default=0)


def _world_size(log: Path) -> int | None:
    """The number of processes, from the head of TIMESTAMP/TIMESTAMP.log; None if there is no such line."""
    path = log.parent.parent / f"{log.parent.parent.name}.log"
    found = re.search(r"GPU number: (\d+)", path.read_text(errors="replace")) if path.is_file() else None
    return int(found[1]) if found else None


def _variant(head: dict) -> str:
    if not head["type"].split(".")[-1].startswith("FFC"):
        return STOCK
    changed = options.changed(head) | {name: head[name] for name in HEAD_OPTIONS if name in head}
    return " ".join(["FFC", *(f"{name}={value}" for name, value in changed.items())])


def _key(cfg: dict, load_from: str | None, world_size: int | None) -> str:
    compared = copy.deepcopy({name: cfg[name] for name in COMPARED})
    head = compared["model"][framework_of(cfg).head]
    head["type"] = head["type"].split(".")[-1].removeprefix("FFC")
    for name in (*options.OPTIONS, *HEAD_OPTIONS):
        head.pop(name, None)
    for name in INCIDENTAL:
        compared["train_dataloader"].pop(name, None)
    scaling = cfg.get("auto_scale_lr") or {}
    compared |= {
        "max_iters": length_of(cfg["train_cfg"])[0], "load_from": load_from, "world_size": world_size,
        "auto_scale_lr": scaling.get("base_batch_size") if scaling.get("enable") else None,
        "custom_hooks": cfg.get("custom_hooks") or [],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(compared, sort_keys=True, default=str).encode()).hexdigest()[:12]
