"""The detectron2 side of ``analyze_outputs.py``."""

import math

from detectron2.config import CfgNode
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.utils.logger import setup_logger

from ffc_dense.detection import PerReduction
from ffc_dense.detection.commands.recipes import Recipe, YamlRecipe, check_one_dataset, recipe_of
from ffc_dense.detection.inspection.analysis import AnalyzedDetector
from ffc_dense.errors.reporting import reading_input

DECISION = "proposals that the box head classifies, with the class of the ground truth at IoU >= 0.5, else background"


def load(source: Recipe | CfgNode, gallery: int) -> AnalyzedDetector:
    """The trained detector; a wrong number of classes is named before its weights do not fit."""
    recipe = YamlRecipe(source) if isinstance(source, CfgNode) else source
    names = recipe.class_names()
    model = recipe.load()[0]
    recipe.check_class_order()
    return AnalyzedDetector(model, names, gallery)


def analyze(config: str, checkpoint: str, overrides: list[str], gallery: int, folder: str) -> dict:
    """The report of :class:`ffc_dense.inspection.analysis.Analysis`, in one pass over the test set."""
    setup_logger()
    recipe = recipe_of(config, checkpoint, overrides, ("TEST",))
    with reading_input(recipe.explain):
        recipe.check_boxes()
        dataset = check_one_dataset(recipe, ("coco",))  # scores are of boxes
        loader = recipe.loader(dataset, annotated=True)
        analyzed = load(recipe, gallery)
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
