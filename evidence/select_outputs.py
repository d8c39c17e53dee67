"""Fit the selectors of a run on the held-out images and add their scores on the test images to its ``scores.json``.

python -m evidence.select_outputs WORK TASK HEAD ITERATIONS SEED
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from .finishing import command
from .folders import folder, write_json
from .plan import Run
from .selectors import SELECTORS, Samples, fit, oracle

Answers = dict[str, list[Tensor]]  # {rule: log-probabilities (N, K) of each image}


def answers(parts: dict[str, list[dict]], labels: dict[str, list[Tensor]], run: Run) -> Answers:
    """Each selector's answers for the samples of each test image; ``labels`` of the samples, 255 for none."""
    train = samples_of(parts["heldout"])
    truth = torch.cat(labels["heldout"]).long()
    known = truth != 255
    train = Samples(train.logits[:, known], train.statistics[known])
    several = len(train.logits) > 1
    fitted = {}
    for name, build in SELECTORS.items():
        if several or name == "selector: stage weights":
            fitted[name] = fit(build(train, run.interpolates), train, truth[known])
    tests = [samples_of([entry]) for entry in parts["test"]]
    with torch.no_grad():
        found = {name: [selector(each) for each in tests] for name, selector in fitted.items()}
        if several:
            pairs = zip(tests, labels["test"], strict=True)
            found["oracle: the best stage"] = [
                oracle(each, truth.long().where(truth != 255, 0)) for each, truth in pairs
            ]
    return found


def samples_of(entries: list[dict]) -> Samples:
    """The boxes or pixels of some images, or the images themselves."""
    logits, active, deviation = [], [], []
    for entry in entries:
        found = entry["logits"]  # (S, R, K + 1), (S, N, K) or (S, K, h, w)
        logits.append(found if found.dim() == 3 else found.flatten(2).transpose(1, 2))
        active.append(entry["active"].flatten(1))
        deviation.append(entry["deviation"].flatten(1))
    return Samples.of(torch.cat(logits, 1), torch.cat(active, 1), torch.cat(deviation, 1))


def main(work: Path, run: Run) -> None:
    out = folder(work, run)
    parts = torch.load(out / "dump.pt", weights_only=True)
    if run.task == "detection":
        from .detection_data import register
        from .score_detection import score_selected

        register(work)
    elif run.task == "classification":
        from .score_classification import score_selected
    else:
        from .score_segmentation import score_selected
    found = score_selected(run, parts, lambda labels: answers(parts, labels, run))
    record = json.loads((out / "scores.json").read_text())
    write_json(out / "scores.json", {**record, "scores": {**record["scores"], **found}})


if __name__ == "__main__":
    command(main)
