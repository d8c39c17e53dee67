"""Label videos with a trained video classifier: a labelled .mp4 for each, and ``predictions.csv`` and ``.json``.

    ffc-dense predict CONFIG.py model.pth --input clip.avi videos/ --output out

``--stock`` writes another model's label below, and whether the two disagree. Files that cannot be read are reported and
left out; the exit code is then 1.
"""

import argparse
from functools import partial
from pathlib import Path

from mmengine.config import Config

from ...classification.commands.predict import read_stock
from ...classification.evaluation.predictions import write_rows
from ...errors import UserError
from ...errors.quiet import framework_output
from ...errors.reporting import reading_input
from ...openmmlab.inputs.config_errors import explain_build
from ...pictures.files import Job, collect
from ...pictures.run import for_each
from ...pictures.video import draw_video
from ..inspection.clip_classifier import ClipClassifier, labelled


def main(args: argparse.Namespace, cfg: Config) -> int:
    """``args``: those of ``classification/commands/predict.py``, which hands over here."""
    jobs = collect(args.input, args.output)
    images = [job.source for job in jobs if not job.video]
    if images:
        raise UserError(f"--input: {images[0]} is an image, and {args.config} classifies videos")
    with framework_output(args.verbose), reading_input(partial(explain_build, cfg=cfg)):
        classifier = ClipClassifier(cfg, args.checkpoint, args.device, args.reduce)
        stock = read_stock(args, classifier) if args.stock else None
    rows = []

    def work(job: Job) -> None:
        sample, outputs = classifier(job.source)
        lines, label = classifier.lines(sample, outputs), int(sample.pred_label)
        if stock is not None:
            other, said = stock(job.source)
            verdict = "agree" if int(other.pred_label) == label else "disagree"
            lines = [f"FFC: {lines[0]}", f"stock: {stock.lines(other, said)[0]} ({verdict})", *lines[1:]]
        draw_video(job.source, job.target, lambda frame: labelled(frame, lines))
        row = {"image": str(job.source), "label": label, "class": classifier.name_of(label)}
        row["probability"] = float(sample.pred_score[label])
        rows.append(row | {f"out{m}": int(each) for m, each in enumerate(outputs.argmax(1), 1) if len(outputs) > 1})

    skipped = for_each(jobs, work)
    if rows:
        write_rows(rows, Path(args.output, "predictions"))
    print(f"{len(rows)} of {len(jobs)} videos labelled" + (f", {skipped} skipped" if skipped else ""))
    return 1 if skipped else 0
