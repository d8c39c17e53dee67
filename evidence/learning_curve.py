"""The learning curve of a training on mmengine."""

import json
from pathlib import Path

from mmengine.hooks import Hook

from .folders import write_json


class LearningCurve(Hook):
    """A metric of the validation on the held-out images, a few times during the training, in ``curve.json``."""

    def __init__(self, metric: str):
        self.metric = metric

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        file = Path(runner.work_dir) / "curve.json"
        curve = json.loads(file.read_text()) if file.exists() else {}
        write_json(file, {**curve, str(runner.iter): float(metrics[self.metric])})
