"""The end of every framework's training, and the trainings' command lines."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from .folders import folder, write_json
from .plan import Run

CURVE_POINTS = 8  # of a main run's learning curve


def finish(work: Path, run: Run, model: nn.Module, parts: dict, score: Callable, checkpoints: str) -> None:
    """Keep the logits of a main run, score them, and remove the checkpoints; ``scores.json`` marks the run as done.

    Args:
        parts: the dump of ``train_*.py``.
        score: ``(parts, run) -> {rule: {metric: score}}``.
        checkpoints: pattern of the checkpoints' names.
    """
    out = folder(work, run)
    if run.is_main:
        torch.save(parts, out / "dump.pt")
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    curve = whole_curve(out) if run.is_main else {}
    results = {"key": run.key, "scores": score(parts, run), "curve": curve, "parameters": parameters}
    write_json(out / "scores.json", results)
    for file in (*out.glob(checkpoints), out / "last_checkpoint"):
        file.unlink()  # megabytes each, and the logits are kept


def whole_curve(run_folder: Path) -> dict[str, float]:
    """The run's learning curve; empty if an interruption lost a point, which would shift the later ones."""
    curve = json.loads((run_folder / "curve.json").read_text())
    return curve if len(curve) == CURVE_POINTS else {}


def command(main: Callable[[Path, Run], None]) -> None:
    """``main(WORK, run)`` for the arguments WORK TASK HEAD ITERATIONS SEED, in one thread."""
    torch.set_num_threads(1)
    work, task, head, iterations, seed = sys.argv[1:]
    main(Path(work), Run(task, head, int(iterations), int(seed)))
