"""The config's own ``test_evaluator``, with its options, for scores of every digit under several test modes."""

from collections.abc import Mapping

from mmengine.config import Config
from mmseg.evaluation import IoUMetric

from ...errors import UserError
from ...openmmlab.evaluation.evaluators import listed, per_reduction
from ...openmmlab.inputs.config_errors import class_of

NAMES = {"mIoU": "IoU", "mDice": "Dice", "mFscore": "Fscore"}  # iou_metrics of IoUMetric: of all classes, of one


def own_metrics(cfg: Config) -> list[dict]:
    """Configs of the metrics of ``test_evaluator``, each as mmengine builds it, except for three things.

    ``IoUMetric`` becomes ``UnroundedIoUMetric`` with the same options. Where an evaluation writes, the name of the
    test mode joins the path. The IoU metric whose scores are the report's (the one without a prefix, or the first)
    loses its prefix.

    Raises:
        UserError: there is no ``test_evaluator``.
    """
    evaluator = cfg.get("test_evaluator")
    if not evaluator:
        raise UserError(
            "test_evaluator: the config has none, so mmseg's test.py would not score it either; "
            "set it, such as to dict(type='IoUMetric', iou_metrics=['mIoU'])"
        )
    found = [_per_reduction(metric) for metric in listed(evaluator)]
    scored = [metric for metric in found if is_iou(metric)]
    if scored and all(metric.get("prefix") for metric in scored):
        scored[0]["prefix"] = None
    return found


def is_iou(metric: Mapping) -> bool:
    kind = class_of(metric)
    return isinstance(kind, type) and issubclass(kind, IoUMetric)


def main_metric(metrics: list[dict]) -> dict | None:
    """The IoU metric whose scores stand without a prefix; None if there is none."""
    return next((metric for metric in metrics if is_iou(metric) and not metric.get("prefix")), None)


def main_score(metric: Mapping) -> str:
    """'mIoU', 'mDice' or 'mFscore': the first that an IoU metric is asked for."""
    asked = metric.get("iou_metrics", "mIoU")
    return asked if isinstance(asked, str) else asked[0]


def _per_reduction(metric: Mapping) -> dict:
    metric = dict(metric)
    if class_of(metric) is IoUMetric:
        metric["type"] = "mmseg.UnroundedIoUMetric"
    return per_reduction(metric)
