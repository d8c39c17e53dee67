"""The mmseg side of ``analyze_outputs.py``."""

import math
from functools import partial

from mmengine.config import Config
from mmengine.runner import Runner

from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reading_input
from ffc_dense.openmmlab.commands.run_config import left_by_tests
from ffc_dense.openmmlab.evaluation.evaluators import joined, listed, loop_config
from ffc_dense.openmmlab.inputs.checkpoint import check_class_order, load_for_evaluation
from ffc_dense.openmmlab.inputs.config_checks import check_folders
from ffc_dense.openmmlab.inputs.config_errors import explain_build, in_a_loop, type_name
from ffc_dense.openmmlab.inputs.read_config import parse_options, read_config
from ffc_dense.segmentation.evaluation.evaluators import (
    NAMES,
    main_metric,
    main_score,
    own_metrics,
)
from ffc_dense.segmentation.inspection import analysis  # noqa: F401  (registers the loop, with the heads and the metrics)
from ffc_dense.segmentation.inspection.segmentor import SAME_ORDER

DECISION = "pixels of the label maps that mmseg predicts, at the size of the labels"


def setup(config: str, overrides: list[str], gallery: int, folder: str) -> Config:
    cfg = read_config(config, parse_options(overrides))
    if "test_dataloader" not in cfg or "model" not in cfg:
        raise UserError(f"{config}: test_dataloader and model are needed, it has {', '.join(cfg)}")
    check_folders(cfg, ("test_dataloader",))
    cfg.launcher, cfg.work_dir = "none", folder
    cfg.load_from, cfg.resume = None, False  # loaded here, with a check
    metrics = own_metrics(cfg)
    main = main_metric(metrics)
    if main is None:
        raise UserError(
            f"{config}: test_evaluator: none of its metrics is an IoUMetric, whose score is analyzed; add one"
        )
    if main.get("format_only"):
        raise UserError(f"{config}: test_evaluator.format_only: an analysis needs labels and scores; set it to False")
    cfg.test_evaluator = joined(cfg, metrics)
    cfg.test_cfg = loop_config(cfg, "mmseg.AnalysisTestLoop", gallery=gallery)
    return cfg


def analyze(config: str, checkpoint: str, overrides: list[str], gallery: int, folder: str) -> dict:
    """The report of :class:`ffc_dense.inspection.analysis.Analysis`, in one pass over the test set."""
    with reading_input():
        cfg = setup(config, overrides, gallery, folder)
    with reading_input(partial(explain_build, cfg=cfg)), left_by_tests():
        runner = Runner.from_cfg(cfg)
        load_for_evaluation(runner.model, checkpoint)
        check_class_order(runner, [checkpoint], SAME_ORDER)
        loop = runner.test_loop
    with reading_input(partial(explain_build, cfg=cfg), unless=in_a_loop):
        found = runner.test()
    main = main_score(main_metric(listed(cfg.test_evaluator)))
    of_class = f"{NAMES[main]}."
    scores: dict[str, dict] = {}
    for path, value in found.items():
        name, metric = path.split("/", 1)
        if metric == main or metric.startswith(of_class):
            key = metric if metric == main else f"class.{metric.removeprefix(of_class)}"
            scores.setdefault(name, {})[key] = None if math.isnan(value) else float(value)
    about = {"framework": "mmseg", "dataset": type_name(cfg.test_dataloader.dataset), "decision": DECISION}
    about |= {"classes": loop.class_names, "palette": loop.dataloader.dataset.metainfo.get("palette")}
    return about | loop.analysis.report(main, scores)
