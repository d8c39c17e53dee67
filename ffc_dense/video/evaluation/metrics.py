"""The loss of a validation, for schedules that wait for a plateau of it."""

import math
from collections.abc import Sequence

from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS


@METRICS.register_module()
class CrossEntropy(BaseMetric):
    """``cross_entropy``: the mean negative log-probability of the true classes, as ``pred_score`` gives them."""

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            probability = float(sample["pred_score"][int(sample["gt_label"])])
            self.results.append(-math.log(max(probability, 1e-38)))

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"cross_entropy": sum(results) / len(results)}
