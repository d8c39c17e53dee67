#!/usr/bin/env python
"""The last step of ``make demo``: a table and pictures from the finished runs in a folder.

    python tools/demo_report.py work_dirs/demo

Writes table.md, detection.png and segmentation.png there.
"""

import json
import math
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["DETECTRON2_DATASETS"] = str(Path(__file__).resolve().parent.parent / "data")

import matplotlib

matplotlib.use("Agg")

import demo_detection
import demo_segmentation


def read_results(folder: Path) -> dict[str, float]:
    """Metrics that ``train_net.py --eval-only`` or mmseg's ``test.py`` left in ``folder``."""
    ours = folder / "results.json"
    if ours.exists():
        return json.loads(ours.read_text())["bbox"]
    return json.loads(sorted(folder.glob("*/*.json"))[-1].read_text())


def seconds(folder: Path) -> float:
    """Training time: mean seconds per iteration that the framework logged, times iterations; nan if it logged none."""
    files = [*folder.glob("metrics.json"), *sorted(folder.glob("*/vis_data/scalars.json"))]
    times, last = [], 0
    for line in (line for file in files for line in file.read_text().splitlines()):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # cut off by an interruption
            continue
        if "time" in entry and ("loss" in entry or "total_loss" in entry):  # not a validation
            times.append(entry["time"])
            last = max(last, entry.get("step", entry.get("iteration", -1) + 1))
    return last * sum(times) / len(times) if times else math.nan


def table(work: Path, parameters: dict[str, int]) -> str:
    """The rows of the final table, as Markdown. Scores in percent, seconds of training."""
    lines = ["| model | classifier | test reduction | AP | AP50 | mIoU | parameters | seconds |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for model, name in (("Faster R-CNN R18-FPN", "faster_rcnn"), ("PSPNet R18-d8", "pspnet")):
        for classifier, reduce in (("stock", "-"), ("FFC", "vote"), ("FFC", "mean")):
            run = name if classifier == "stock" else f"{name}_ffc"
            results = read_results(work / run / f"eval_{'stock' if reduce == '-' else reduce}")
            scores = [f"{results[key]:.1f}" if key in results else "" for key in ("AP", "AP50", "mIoU")]
            row = [model, classifier, reduce, *scores, f"{parameters[run]:,}", f"{seconds(work / run):.0f}"]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    work = Path(sys.argv[1])
    parameters = {**demo_detection.draw(work), **demo_segmentation.draw(work)}
    text = table(work, parameters)
    (work / "table.md").write_text(text + "\n")
    print(text)
    print("\npictures: " + ", ".join(os.path.relpath(work / name) for name in ("detection.png", "segmentation.png")))


if __name__ == "__main__":
    main()
