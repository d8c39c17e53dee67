"""``train_config.yaml``: the settings of a detectron2 training.

detectron2 writes ``config.yaml`` at the start of every command, before ``SOLVER.REFERENCE_WORLD_SIZE`` scales the
schedule. An ``--eval-only`` of its own script replaces that file. ``tools/train_net.py`` therefore records the settings
of the trainer, once.
"""

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..reliability.saving import write_text_atomically
from .files import read_yaml

NAME = "train_config.yaml"
SHOWN = 5  # keys in a message
LONGEST = 120  # characters of a value in a message
# What may differ between runs that are compared: the machine, and how often something is written. The schedule that is
# compared is the scaled one, so the number of processes it was written for says nothing more.
INCIDENTAL = (
    "SEED", "OUTPUT_DIR", "VERSION", "VIS_PERIOD", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS", "MODEL.DEVICE",
    "SOLVER.CHECKPOINT_PERIOD", "SOLVER.CHECKPOINT_MAX_TO_KEEP", "SOLVER.NON_FINITE_LOSS",
    "SOLVER.REFERENCE_WORLD_SIZE", "TEST.EVAL_PERIOD", "TEST.EXPECTED_RESULTS",
)  # fmt: skip


def write_train_config(folder: Path, dumped: str, world_size: int, resumed: bool) -> Path | None:
    """Record a training that starts or resumes in ``folder``.

    A new training replaces the record. A resumed one keeps it, unless its settings differ in more than paths, seed and
    initial weights (it takes all three from its checkpoint): then they are recorded in ``train_config.1.yaml`` and so
    on.

    Args:
        dumped: the trainer's own config (``trainer.cfg.dump()``), scaled to ``world_size`` processes.
        resumed: whether a checkpoint of this folder was loaded.

    Returns:
        The file that was written; None if the record already has these settings.
    """
    import yaml

    found = recorded(folder)
    path = folder / NAME
    if resumed and found:
        ignored = (*INCIDENTAL, "MODEL.WEIGHTS")
        if without(read_yaml(found[-1]), ignored) == without(yaml.safe_load(dumped), ignored):
            return None
        path = folder / f"train_config.{len(found)}.yaml"
    else:
        for old in found:
            old.unlink()
    write_text_atomically(f"# Settings of a training with {world_size} process(es), as scaled to them.\n{dumped}", path)
    return path


def changed_settings(folder: Path, dumped: str) -> str:
    """The keys of a training's config that differ from the record in ``folder``, for a message; '' without a record.

    Keys of the model come first.
    """
    import yaml

    found = recorded(folder)
    if not found:
        return ""
    ignored = (*INCIDENTAL, "MODEL.WEIGHTS")
    differences = differing(without(read_yaml(found[-1]), ignored), without(yaml.safe_load(dumped), ignored), "MODEL.")
    return f"{differences} ({found[-1].name})" if differences else ""


def differing(before: dict, now: dict, first: str) -> str:
    """The dotted keys of two nested mappings that differ, in words; those that begin with ``first`` come first."""
    before, now = dict(_leaves(before)), dict(_leaves(now))
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    keys.sort(key=lambda key: not key.startswith(first))
    shown = [f"{key} was {_short(before, key)}, is {_short(now, key)}" for key in keys[:SHOWN]]
    more = [f"and {len(keys) - SHOWN} more"] if len(keys) > SHOWN else []
    return "; ".join([*shown, *more])


def _short(leaves: dict[str, Any], key: str) -> str:
    text = repr(leaves[key]) if key in leaves else "not set"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _leaves(tree: dict, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        below = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from _leaves(value, below)
        else:
            yield below, value


def recorded(folder: Path) -> list[Path]:
    """train_config.yaml, train_config.1.yaml, ... in the order of the trainings."""
    first = folder / NAME
    if not first.is_file():
        return []
    later = [path for path in folder.glob("train_config.*.yaml") if path.name.split(".")[1].isdigit()]
    return [first, *sorted(later, key=lambda path: int(path.name.split(".")[1]))]


def without(cfg: dict, keys: Iterable[str]) -> dict:
    """A copy of a nested mapping that lacks the given dotted keys."""
    cfg = copy.deepcopy(cfg)
    for dotted in keys:
        *parents, name = dotted.split(".")
        node = cfg
        for parent in parents:
            node = node.get(parent, {})
        node.pop(name, None)
    return cfg
