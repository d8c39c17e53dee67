"""The mmseg side of ``analyze_outputs.py``."""

import argparse
import math

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from ffc_dense.commands import reading_input
from ffc_dense.segmentation import analysis  # noqa: F401  (registers the loop, with the heads and the metrics)
from ffc_dense.segmentation.checkpoint import load_for_evaluation

DECISION = "pixels of the label maps that mmseg predicts, at the size of the labels"


def setup(config: str, overrides: list[str], gallery: int, folder: str) -> Config:
    cfg = Config.fromfile(config)
    if overrides:
        parser = argparse.ArgumentParser()
        parser.add_argument("--cfg-options", nargs="+", action=DictAction)
        cfg.merge_from_dict(parser.parse_args(["--cfg-options", *overrides]).cfg_options)
    if "test_dataloader" not in cfg or "model" not in cfg:
        raise ValueError(f"{config}: test_dataloader and model are needed, it has {', '.join(cfg)}")
    cfg.launcher, cfg.work_dir = "none", folder
    cfg.load_from, cfg.resume = None, False  # loaded here, with a check
    cfg.test_evaluator = dict(type="UnroundedIoUMetric", iou_metrics=["mIoU"])
    cfg.test_cfg = dict(type="AnalysisTestLoop", gallery=gallery)
    return cfg


def analyze(config: str, checkpoint: str, overrides: list[str], gallery: int, folder: str) -> dict:
    """The report of :class:`ffc_dense.diagnosis.analysis.Analysis`, in one pass over the test set."""
    with reading_input():
        cfg = setup(config, overrides, gallery, folder)
        runner = Runner.from_cfg(cfg)
        load_for_evaluation(runner.model, checkpoint)
        loop = runner.test_loop
    found = runner.test()
    scores: dict[str, dict] = {}
    for path, value in found.items():
        name, metric = path.split("/", 1)
        if metric == "mIoU" or metric.startswith("IoU."):
            key = metric.replace("IoU.", "class.") if metric != "mIoU" else metric
            scores.setdefault(name, {})[key] = None if math.isnan(value) else float(value)
    about = {"framework": "mmseg", "dataset": cfg.test_dataloader.dataset.type, "decision": DECISION}
    return about | {"classes": loop.class_names} | loop.analysis.report("mIoU", scores)
