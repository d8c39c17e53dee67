"""Configs of mmengine's evaluators and test loops, rewritten for several test modes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config


def listed(evaluator: Any) -> list[dict]:
    """The metrics' configs in any of mmengine's forms: one, a list, or ``dict(metrics=...)``."""
    if isinstance(evaluator, Mapping) and "metrics" in evaluator:
        evaluator = evaluator["metrics"]
    return list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]


def joined(cfg: Config, metrics: list[dict]) -> dict | list[dict]:
    """``test_evaluator`` with ``metrics`` in the place of its own; an ``Evaluator`` of another class stays."""
    evaluator = cfg.test_evaluator
    if isinstance(evaluator, Mapping) and "metrics" in evaluator:
        return {**evaluator, "metrics": metrics}
    return metrics


def loop_config(cfg: Config, kind: str, **options: Any) -> dict:
    """``test_cfg`` for one of our loops; what the config's own says (fp16) stays."""
    own = {key: value for key, value in (cfg.get("test_cfg") or {}).items() if key != "type"}
    return {**own, "type": kind, **options}


def per_reduction(metric: Mapping) -> dict:
    """A metric's config whose paths have the name of the test mode among their folders."""
    metric = dict(metric)
    for key in ("output_dir", "out_file_path"):  # of metrics that write, and of DumpResults
        path = metric.get(key)
        if isinstance(path, str) and "{reduction}" not in path:
            folder, name = (Path(path), "") if key == "output_dir" else (Path(path).parent, Path(path).name)
            metric[key] = str(folder / "{reduction}" / name)
    return metric
