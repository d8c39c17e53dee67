"""What a model said of every image, as a CSV and a JSON file."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ...pictures.writing import write_result
from ...text import without_nan


@METRICS.register_module()
class PredictionWriter(BaseMetric):
    """Writes ``NAME.csv`` and ``NAME.json`` with a row for each image; scores nothing.

    Columns: ``image``, ``label`` (a number), ``class`` (its name), ``probability``, the true ``gt_label`` if there is
    one, and of an FFC head with ``opinions`` ``agreement`` and ``out1`` ... ``outM``, the outputs' labels.

    Args:
        path: NAME, with its folder.
    """

    default_prefix = "predictions"

    def __init__(self, path: str, **kwargs):
        super().__init__(**kwargs)
        self.path = Path(path)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        names = (self.dataset_meta or {}).get("classes")
        self.results += [row_of(sample, names) for sample in data_samples]

    def compute_metrics(self, results: list[dict]) -> dict:
        write_rows(results, self.path)
        return {}


def row_of(sample: dict, names: Sequence[str] | None) -> dict[str, Any]:
    """A data sample as a row."""
    label = int(sample["pred_label"])
    row = {
        "image": sample.get("img_path", sample.get("video", "")),
        "label": label,
        "class": names[label] if names else str(label),
    }
    row["probability"] = float(sample["pred_score"][label])
    if "gt_label" in sample:
        row["gt_label"] = int(sample["gt_label"])
    if "agreement" in sample:
        row["agreement"] = float(sample["agreement"])
        row |= {f"out{m + 1}": int(each) for m, each in enumerate(sample["output_labels"])}
    return row


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """``path`` + .csv and .json; every number has all its digits.

    Raises:
        CannotWrite: a file cannot be written.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_result(table.getvalue().encode(), path.with_name(f"{path.name}.csv"))
    write_result((json.dumps(without_nan(rows), indent=1) + "\n").encode(), path.with_name(f"{path.name}.json"))
