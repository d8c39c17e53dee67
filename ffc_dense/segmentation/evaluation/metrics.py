"""mmseg's and Cityscapes' own evaluators, with every digit: the two agree, and their rounded reports cannot show it.

IoU, accuracy: in percent; nan where a class occurs neither in the labels nor in the predictions.
"""

import numpy as np
from mmseg.evaluation import CityscapesMetric, IoUMetric
from mmseg.evaluation.metrics import citys_metric
from mmseg.registry import METRICS


@METRICS.register_module()
class UnroundedIoUMetric(IoUMetric):
    """Identical to :class:`IoUMetric`, except that the scores are not rounded and each class's are among them.

    The pixel counts of all images are added up in fp64; fp32 is exact to 16.7 million pixels only, eight images of
    Cityscapes. Keys: ``aAcc``, ``mIoU``, ``mAcc``, and ``IoU.road``, ``Acc.road``, ... for every class.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        rounded = super().compute_metrics(results)  # writes the table of classes into the log
        if self.format_only:
            return rounded
        totals = [sum(area.double() for area in areas) for areas in zip(*results, strict=True)]
        scores = self.total_area_to_metrics(*totals, self.metrics, self.nan_to_num, self.beta)
        found = {"aAcc": float(scores.pop("aAcc")) * 100}
        for name, per_class in scores.items():
            found[f"m{name}"] = float(np.nanmean(per_class)) * 100
            classes = zip(self.dataset_meta["classes"], per_class, strict=True)
            found |= {f"{name}.{label}": float(value) * 100 for label, value in classes}
        return found


@METRICS.register_module()
class CityscapesScriptsMetric(CityscapesMetric):
    """Identical to :class:`CityscapesMetric`, except that it returns the classes' scores instead of the categories'.

    It writes predictions as PNGs of label ids, as the test server takes them, into ``output_dir`` and lets
    cityscapesscripts compare them with ``*_gtFine_labelIds.png``. Keys: ``mIoU``, ``IoU.road``, ...
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        if self.format_only:
            return super().compute_metrics(results)
        evaluation = citys_metric.CSEval
        settings = dict(evalInstLevelScore=False, evalPixelAccuracy=False, JSONOutput=False, quiet=True)
        vars(evaluation.args).update(settings)
        predictions, labels = zip(*results, strict=True)
        scores = evaluation.evaluateImgLists(predictions, labels, evaluation.args)
        found = {"mIoU": scores["averageScoreClasses"] * 100}
        return found | {f"IoU.{label}": scores["classScores"][label] * 100 for label in self.dataset_meta["classes"]}
