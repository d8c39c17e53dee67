"""A detectron2 output folder: train_config.yaml or config.yaml, metrics.json, results.json, log.txt."""

import copy
import hashlib
import json
import math
import re
from pathlib import Path

from ..frameworks import DETECTRON2
from ..method import options
from . import lazy_runs
from .files import checkpoint_of, is_number, read_json, read_json_lines, read_yaml
from .run import STOCK, Evaluation, Run
from .train_config import INCIDENTAL, recorded, without

TESTED = re.compile(r"bbox/(AP.*)$")
LAZY = re.compile(r"!!python/|^\s*_target_:", re.MULTILINE)  # what LazyConfig.save writes
LAZY_NOTE = "a LazyConfig's: settings are those of the last start in the folder"
GUESSED = "no train_config.yaml in the folder: seed and schedule are those of its last command"


def is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "metrics.json").is_file()


def read(folder: Path) -> Run:
    """The run of an output folder, with the score of its own last validation.

    Seed, schedule and settings are those of ``train_config.yaml``. Scripts other than ``tools/train_net.py`` leave only
    ``config.yaml``, that of the last command; the run then has an ``identity_note``.

    Raises:
        ValueError: a file is malformed or lacks a key, or the schedule cannot be known; the message names the file.
    """
    paths = recorded(folder) or [folder / "config.yaml"]
    if is_lazy(paths[0]):
        return _read_lazy(folder)
    configs = [read_yaml(path) for path in paths]
    entries = read_json_lines(folder / "metrics.json")
    try:
        last = configs[-1]
        max_iterations, seed = last["SOLVER"]["MAX_ITER"], configs[0]["SEED"]
        head, ffc = last["MODEL"]["ROI_HEADS"]["NAME"], last["MODEL"]["ROI_BOX_HEAD"].get("FFC", {})
        tests = last.get("DATASETS", {}).get("TEST", [])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{paths[-1]} is no complete detectron2 config: {error} is missing") from error
    if paths[0].name == "config.yaml" and last["SOLVER"].get("REFERENCE_WORLD_SIZE", 0):
        raise ValueError(
            f"{folder}: config.yaml has SOLVER.REFERENCE_WORLD_SIZE, but not the scaled schedule, and there is no "
            "train_config.yaml: how long the run trains is unknown. Resume it with tools/train_net.py, which writes it"
        )
    run = Run(
        folder, DETECTRON2, config_name(folder), _key(configs, folder), _variant(head, ffc),
        seed if seed >= 0 else None, _trained(entries, max_iterations), max_iterations, datasets=tuple(tests),
        identity_note=GUESSED if paths[0].name == "config.yaml" else "",
    )  # fmt: skip
    if len(configs) > 1:
        run.notes.append(f"resumed with other settings: {', '.join(path.name for path in paths[1:])}")
    _add_last_scores(run, entries, _reduction(last))
    return run


def is_lazy(config: Path) -> bool:
    """Whether a training of a LazyConfig saved this file."""
    return config.name == "config.yaml" and bool(LAZY.search(config.read_text(errors="replace")))


def _read_lazy(folder: Path) -> Run:
    path = folder / "config.yaml"
    cfg, entries = lazy_runs.read_settings(path), read_json_lines(folder / "metrics.json")
    try:
        max_iterations, seed = cfg["train"]["max_iter"], cfg["train"].get("seed", -1)
        key, variant = _hash([lazy_runs.compared(cfg, folder)]), lazy_runs.variant(cfg)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no complete LazyConfig: {error} is missing") from error
    run = Run(
        folder, DETECTRON2, config_name(folder), key, variant, seed if seed >= 0 else None,
        _trained(entries, max_iterations), max_iterations, datasets=lazy_runs.test_sets(cfg), identity_note=LAZY_NOTE,
    )  # fmt: skip
    _add_last_scores(run, entries, lazy_runs.reduction(cfg))
    return run


def _trained(entries: list[dict], max_iterations: int) -> int:
    # EvalHook logs the final score with iteration = MAX_ITER; the last training step is MAX_ITER - 1.
    trained = [entry["iteration"] + 1 for entry in entries if "total_loss" in entry and "iteration" in entry]
    return min(max(trained, default=0), max_iterations)


def _add_last_scores(run: Run, entries: list[dict], reduction: str) -> None:
    tested = [entry for entry in entries if "bbox/AP" in entry]
    if run.finished and tested and tested[-1].get("iteration", -1) >= run.max_iterations - 1:
        values = {TESTED.match(key)[1]: value for key, value in tested[-1].items() if TESTED.match(key)}
        run.add_scores(reduction, values, Path(run.folder) / "metrics.json")


def log_entries(run: Run) -> list[dict]:
    """The lines of the run's log, each with ``iterations``: the number done when it was written."""
    last = run.max_iterations or math.inf
    # EvalHook's last line has iteration = MAX_ITER, where the last training step is MAX_ITER - 1.
    lines = read_json_lines(Path(run.folder) / "metrics.json")
    return [
        {**line, "iterations": min(line["iteration"] + 1, last)} for line in lines if is_number(line.get("iteration"))
    ]


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that the run ended with; None if it is not there."""
    path = folder / "model_final.pth"
    return path if path.is_file() else None


def iterations_of(number: int) -> int:
    """The iterations of model_NUMBER.pth: 50 for model_0000049.pth."""
    return number + 1


def reduced_scores(results: dict) -> dict[str, dict | None]:
    """``results`` of reductions.json -> {test mode: {metric: percent}}."""
    # Nothing was scored on images without labels (test-dev).
    return {name: (metrics or {}).get("bbox") for name, metrics in results.items()}


def analysis_arguments(run: Run, checkpoint: Path) -> list[str]:
    """CONFIG CHECKPOINT ... for the analysis of a checkpoint.

    Raises:
        FileNotFoundError: the run names no test set.
    """
    folder = Path(run.folder)
    config = (recorded(folder) or [folder / "config.yaml"])[-1]
    if is_lazy(config):
        raise FileNotFoundError(f"{folder} is a LazyConfig's: run tools/analyze_outputs.py CONFIG.py {checkpoint}")
    if run.datasets:
        return [str(config), str(checkpoint)]
    datasets = [
        read_json(place / "results.json").get("evaluated", {}).get("dataset")
        for place in sorted(folder.iterdir())
        if place.is_dir() and is_evaluation(place)
    ]
    datasets = [name for name in datasets if name]
    if not datasets:
        raise FileNotFoundError(
            f"{folder} names no test set (DATASETS.TEST is empty): run tools/analyze_outputs.py {config} {checkpoint} "
            "DATASETS.TEST \"('NAME',)\""
        )
    return [str(config), str(checkpoint), "DATASETS.TEST", f"({datasets[0]!r},)"]


def is_evaluation(folder: Path) -> bool:
    """Whether ``train_net.py --eval-only`` wrote into ``folder``."""
    return all((folder / name).is_file() for name in ("config.yaml", "results.json"))


def evaluation(folder: Path) -> Evaluation:
    """The last ``train_net.py --eval-only`` in ``folder``, which can be a training's folder.

    Raises:
        ValueError: a file is malformed; the message names it.
    """
    path = folder / "results.json"
    content = read_json(path)
    metrics = content.get("bbox") or {}
    try:
        if "evaluated" in content:
            source = content["evaluated"]
            return Evaluation(path, checkpoint_of(path, source), {source["reduction"]: metrics}, source.get("dataset"))
        # Old files do not name their checkpoint. config.yaml is this evaluation's unless a later command replaced it;
        # then no training's folder has the checkpoint.
        cfg = read_yaml(folder / "config.yaml")
        return Evaluation(path, Path(cfg["MODEL"]["WEIGHTS"]), {_reduction(cfg): metrics})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not say what was evaluated: {error} is missing; evaluate again") from error


def config_name(folder: Path) -> str:
    """The stem of the config file that the log names first; without a log, the folder's name."""
    log = folder / "log.txt"
    if log.is_file():
        with log.open(errors="replace") as lines:
            for line in lines:
                found = re.search(r"Contents of args\.config_file=(.+\.(?:yaml|py))\b", line)
                if found:
                    return Path(found[1]).stem
    return folder.resolve().name


def _reduction(cfg: dict) -> str:
    if not cfg["MODEL"]["ROI_HEADS"]["NAME"].startswith("FFC"):
        return STOCK
    return cfg["MODEL"]["ROI_BOX_HEAD"].get("FFC", {}).get("TEST_REDUCE", "vote")


def _variant(head: str, ffc: dict) -> str:
    if not head.startswith("FFC"):
        return STOCK
    changed = options.changed({key.lower(): value for key, value in ffc.items()})
    return " ".join(["FFC", *(f"{name}={value}" for name, value in changed.items())])


def _key(configs: list[dict], folder: Path) -> str:
    """A hash of the first start's settings and of every later change; equal for comparable runs."""
    return _hash([_settings(cfg, folder, first=cfg is configs[0]) for cfg in configs])


def _hash(compared: list[dict]) -> str:
    return hashlib.sha256(json.dumps(compared, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _settings(cfg: dict, folder: Path, first: bool) -> dict:
    cfg = without(copy.deepcopy(cfg), INCIDENTAL)
    cfg["MODEL"]["ROI_BOX_HEAD"].pop("FFC", None)
    cfg["MODEL"]["ROI_HEADS"]["NAME"] = cfg["MODEL"]["ROI_HEADS"]["NAME"].removeprefix("FFC")
    weights = cfg["MODEL"].get("WEIGHTS") or ""
    # Only initial weights are compared: a resumed training loads none, and an --eval-only names the run's own.
    if not first or (weights and Path(weights).parent.resolve() == folder.resolve()):
        cfg["MODEL"].pop("WEIGHTS", None)
    return cfg
