"""A detectron2 output folder: config.yaml, metrics.json, results.json, log.txt."""

import copy
import hashlib
import json
import re
from pathlib import Path

from .files import read_json, read_json_lines, read_yaml
from .run import STOCK, Run

TESTED = re.compile(r"bbox/(AP\w*)$")
# What may differ between runs that are compared: the machine, and how often something is written.
INCIDENTAL = (
    "SEED", "OUTPUT_DIR", "VERSION", "VIS_PERIOD", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS", "MODEL.DEVICE",
    "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD", "TEST.EXPECTED_RESULTS",
)  # fmt: skip


def is_detectron2_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "metrics.json").is_file()


def read(folder: Path) -> Run:
    """The run of an output folder, with the scores of its last evaluation.

    ``config.yaml`` is that of the last command which wrote into the folder, as detectron2 leaves it.

    Raises:
        ValueError: a file is malformed or lacks a key; the message names it.
    """
    cfg = read_yaml(folder / "config.yaml")
    entries = read_json_lines(folder / "metrics.json")
    try:
        max_iterations, seed = cfg["SOLVER"]["MAX_ITER"], cfg["SEED"]
        head, ffc = cfg["MODEL"]["ROI_HEADS"]["NAME"], cfg["MODEL"]["ROI_BOX_HEAD"].get("FFC", {})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / 'config.yaml'} is no complete detectron2 config: {error} is missing") from error
    # EvalHook logs the final score with iteration = MAX_ITER; the last training step is MAX_ITER - 1.
    trained = [entry["iteration"] + 1 for entry in entries if "total_loss" in entry and "iteration" in entry]
    tested = [entry for entry in entries if "bbox/AP" in entry]
    iteration = min(max(trained, default=0), max_iterations)
    run = Run(
        folder, "detectron2", config_name(folder), _key(cfg, folder), _variant(head, ffc),
        seed if seed >= 0 else None, iteration, max_iterations,
    )  # fmt: skip
    results = folder / "results.json"
    if run.finished and results.is_file():  # newer than the log's score, and config.yaml has its TEST_REDUCE
        run.add_scores(_reduction(cfg), read_json(results).get("bbox") or {}, results)
    elif run.finished and tested and tested[-1].get("iteration", -1) >= max_iterations - 1:
        values = {TESTED.match(key)[1]: value for key, value in tested[-1].items() if TESTED.match(key)}
        run.add_scores(_reduction(cfg), values, folder / "metrics.json")
    return run


def is_evaluation(folder: Path) -> bool:
    """Whether ``train_net.py --eval-only`` wrote into ``folder``, and no training did."""
    names = {"config.yaml", "results.json"}
    return all((folder / name).is_file() for name in names) and not (folder / "metrics.json").exists()


def evaluation(folder: Path) -> tuple[Path, Path, dict[str, dict]]:
    """(results.json, checkpoint, {reduction: metrics}) of a folder that holds an evaluation alone.

    Raises:
        ValueError: a file is malformed; the message names it.
    """
    path, cfg = folder / "results.json", read_yaml(folder / "config.yaml")
    try:
        return path, Path(cfg["MODEL"]["WEIGHTS"]), {_reduction(cfg): read_json(path).get("bbox") or {}}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / 'config.yaml'} is no complete detectron2 config: {error} is missing") from error


def config_name(folder: Path) -> str:
    """The stem of the config file that the log names; without a log, the folder's name."""
    log = folder / "log.txt"
    if log.is_file():
        with log.open(errors="replace") as lines:
            for line in lines:
                found = re.search(r"Contents of args\.config_file=(.+\.yaml)", line)
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
    options = []
    if ffc.get("NUM_FILTERS", 3) != 3:
        options.append(f"num_filters={ffc['NUM_FILTERS']}")
    if not ffc.get("INTERPOLATE", True):
        options.append("interpolate=False")
    return " ".join(["FFC", *options])


def _key(cfg: dict, folder: Path) -> str:
    cfg = copy.deepcopy(cfg)
    for dotted in INCIDENTAL:
        *parents, name = dotted.split(".")
        node = cfg
        for parent in parents:
            node = node.get(parent, {})
        node.pop(name, None)
    cfg["MODEL"]["ROI_BOX_HEAD"].pop("FFC", None)
    cfg["MODEL"]["ROI_HEADS"]["NAME"] = cfg["MODEL"]["ROI_HEADS"]["NAME"].removeprefix("FFC")
    weights = cfg["MODEL"].get("WEIGHTS") or ""
    if Path(weights).parent.resolve() == folder.resolve():  # an --eval-only of the run's own checkpoint
        del cfg["MODEL"]["WEIGHTS"]
    return hashlib.sha256(json.dumps(cfg, sort_keys=True, default=str).encode()).hexdigest()[:12]
