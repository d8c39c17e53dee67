"""Runs with analyses as the tools leave them, small and with hostile names, for the tests of the report."""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from run_folders import box_scores, detectron2_run, mmengine_run, reductions

from ffc_dense.inspection.activity import active_units
from ffc_dense.inspection.analysis import Analysis
from ffc_dense.inspection.files import write
from ffc_dense.method.layers import FFCLinear

HOSTILE = "<script>document.title='run'</script>\"'><img src=x onerror=\"document.title='run'\">"
HOSTILE_FILE = HOSTILE[HOSTILE.index("<img") :]  # without a slash


def pair(root, detection=True, name="ffc"):
    """Stock and FFC runs with losses, scores under vote and mean, and an analysis: the folders (stock, ffc)."""
    stock, ffc = root / "stock", root / name
    if detection:
        detectron2_run(stock, ap=27.1)
        detectron2_run(ffc, ffc=True)
        results = {name: {"bbox": box_scores(ap)} for name, ap in (("vote", 27.9), ("mean", 27.5))}
        reductions(ffc / "eval", "detectron2", ffc / "model_final.pth", results)
        log = ffc / "metrics.json"
        more = [{"iteration": i, "total_loss": 2.0 - i / 1e6, "loss_cls": 1.0, "lr": 0.02} for i in (39, 79)]
        lines = log.read_text().splitlines()
        log.write_text("\n".join([lines[0], *map(json.dumps, more), *lines[1:]]) + "\n")
    else:
        mmengine_run(stock, miou=78.3)
        mmengine_run(ffc, ffc=True)
        results = {"vote": {"mIoU": 78.8, "mAcc": 85.0, "aAcc": 96.0}}
        reductions(ffc / "eval", "mmseg", ffc / "iter_40000.pth", results)
    analysis(ffc / "analysis_model_final", detection)
    return stock, ffc


def analysis(folder, detection=True):
    """``analysis.json``, plots and label maps of three images; their (fixed, broken): (3, 1), (1, 5), (0, 2)."""
    return Path(shutil.copytree(Path(_made(detection).name), folder))


@cache
def _made(detection):
    """Drawn once: matplotlib takes seconds. The folder goes with the process."""
    made = TemporaryDirectory()
    found = analyzed(torch.randn(20, 6, generator=torch.Generator().manual_seed(0)))
    for i, (fixed, broken) in enumerate(((3, 1), (1, 5), (0, 2))):
        Image.fromarray(np.full((30, 40, 3), 60 * i, np.uint8)).save(Path(made.name, f"image{i}.jpg"))
        found.gallery.offer(fixed, broken, lambda name=f"image{i}.jpg": gallery_entry(name, detection))
    about = {"framework": "detectron2" if detection else "mmseg", "decision": "proposals", "weights": "model_final.pth"}
    report = found.report("AP" if detection else "mIoU", {})
    write({**about, "classes": ["ship", "car"], **report}, Path(made.name))
    return made


def analyzed(x):
    """An analysis of the 20 samples ``x``, of which every third is of class 1, the others of class 0."""
    layer = FFCLinear(6, 3)
    outputs = layer.outputs(x).detach()
    found = Analysis(layer, gallery=8)
    found.images, truth = 3, (torch.arange(len(x)) % 3 == 0).long()
    labels = outputs.argmax(-1)
    found.activity.update(active_units(layer.filters(x), -1, True))
    for i, name in enumerate(found.names):
        probabilities = outputs[min(i, 6)].softmax(-1)
        confidence, right = probabilities.amax(-1), probabilities.gather(1, truth[:, None])[:, 0]
        found.decisions[name].update(labels[min(i, 6)], confidence, right, truth, labels[0])
    found.election.update(labels, torch.zeros(len(x), dtype=torch.int64), labels[0], truth)
    return found


def gallery_entry(name, detection):
    entry = {"image": name, "height": 30, "width": 40}
    if detection:
        box = {"box": [4, 6, 20, 25], "kind": "fixed", "before": "background", "after": "ship", "truth": "ship",
               "before_confidence": 0.4, "after_confidence": 0.6}  # fmt: skip
        return {**entry, "boxes": [box, {**box, "box": [5, 7, 21, 25], "kind": "broken", "truth": "background"}]}
    maps = {name: np.zeros((30, 40), np.uint8) for name in ("out1", "vote", "truth")}
    maps["out1"][:5], maps["vote"][20:], maps["truth"][:, :3] = 1, 1, 255
    change = {"kind": "fixed", "before": "car", "after": "ship", "pixels": 185, "box": [3, 0, 40, 5]}
    return {**entry, "maps": maps, "changes": [change]}
