"""The detectron2 side of ``analyze_outputs.py``."""

import math
from functools import partial

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.utils.logger import setup_logger

from ffc_dense.detection import EvalCheckpointer, PerReduction
from ffc_dense.detection.evaluation.evaluators import check_evaluators
from ffc_dense.detection.inputs.architectures import boxes_alone, has_roi_heads
from ffc_dense.detection.inputs.config_errors import explain_build
from ffc_dense.detection.inputs.read_config import read_config
from ffc_dense.detection.inputs.startup import choose_device
from ffc_dense.detection.inspection.analysis import AnalyzedDetector, AnnotatedMapper
from ffc_dense.detection.inspection.detector import class_names
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reading_input

DECISION = "proposals that the box head classifies, with the class of the ground truth at IoU >= 0.5, else background"


def setup(config: str, checkpoint: str, overrides: list[str]) -> CfgNode:
    cfg = read_config(config, [*overrides, "MODEL.WEIGHTS", checkpoint], ("TEST",))
    cfg.MODEL.DEVICE = choose_device(cfg.MODEL.DEVICE, "MODEL.DEVICE", 1)
    if not has_roi_heads(cfg):
        raise UserError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE}: it has no ROI heads, whose proposals are what is "
            "analysed; score it with ffc-dense evaluate"
        )
    boxes_alone(cfg)
    check_evaluators(cfg.DATASETS.TEST, "DATASETS.TEST", ("coco",))  # scores are of boxes
    if len(cfg.DATASETS.TEST) != 1:
        raise UserError(f"DATASETS.TEST: one dataset is analysed at a time, it names {list(cfg.DATASETS.TEST)}")
    return cfg


def load(cfg: CfgNode, gallery: int) -> AnalyzedDetector:
    model = DefaultTrainer.build_model(cfg)
    analyzed = AnalyzedDetector(model, class_names(cfg), gallery)
    EvalCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return analyzed


def analyze(config: str, checkpoint: str, overrides: list[str], gallery: int, folder: str) -> dict:
    """The report of :class:`ffc_dense.inspection.analysis.Analysis`, in one pass over the test set."""
    setup_logger()
    with reading_input():
        cfg = setup(config, checkpoint, overrides)
    with reading_input(partial(explain_build, cfg=cfg)):
        dataset = cfg.DATASETS.TEST[0]
        loader = build_detection_test_loader(cfg, dataset, mapper=AnnotatedMapper(cfg, is_train=False))
        analyzed = load(cfg, gallery)
    # The official implementation, where detectron2 would prefer its own faster one.
    evaluators = {name: COCOEvaluator(dataset, tasks=("bbox",), use_fast_impl=False) for name in analyzed.names}
    found = inference_on_dataset(analyzed, loader, PerReduction(evaluators))
    scores = {name: _scores(results.get("bbox", {})) for name, results in found.items()}
    about = {"framework": "detectron2", "dataset": dataset, "decision": DECISION, "classes": analyzed.class_names[:-1]}
    return about | analyzed.analysis.report("AP", scores)


def _scores(results: dict) -> dict:
    scores = {"class." + key.removeprefix("AP-"): value for key, value in results.items() if key.startswith("AP-")}
    scores["AP"] = results.get("AP")
    return {key: None if value is None or math.isnan(value) else value for key, value in scores.items()}
