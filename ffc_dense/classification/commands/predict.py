"""Classify images, folders and videos with a trained mmpretrain model, stock or FFC, and write its predictions.

Writes a picture or an .mp4 for each file into the folder ``--output``, with the label, its probability and the vote of
each output below the image, and ``predictions.csv`` and ``.json`` with a row for each image. ``--stock`` draws another
model beside this one, and whether the two disagree. Files that cannot be read are reported and left out; the exit code
is then 1.

    ffc-dense predict CONFIG.py model.pth --input photo.jpg photos/ --output out
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import DictAction

from ffc_dense.classification import Classifier
from ffc_dense.classification.evaluation.predictions import row_of, write_rows
from ffc_dense.classification.inputs.config_checks import takes_videos
from ffc_dense.classification.inspection.comparison import compared
from ffc_dense.cli.shipped_configs import config_path
from ffc_dense.errors import UserError
from ffc_dense.errors.quiet import add_verbose_argument, framework_output
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.openmmlab.inputs.config_errors import explain_build
from ffc_dense.openmmlab.inputs.read_config import read_config
from ffc_dense.pictures.files import add_stock_argument, collect
from ffc_dense.pictures.run import run
from ffc_dense.pictures.scale import add_scale_argument


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help=".pth file")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="images, folders, videos")
    parser.add_argument("--output", required=True, metavar="FOLDER")
    parser.add_argument("--opinions", action="store_true", help="no effect: the vote of each output is always shown")
    parser.add_argument("--reduce", metavar="NAME", help="vote, mean, out1 ...; the config's own by default")
    add_stock_argument(parser)
    add_scale_argument(parser)
    parser.add_argument("--device", help="of torch; default: cuda where there is one, else cpu")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value overrides of the config")
    add_verbose_argument(parser)
    add_debug_argument(parser)
    with reading_input(lambda error: f"--cfg-options: expected KEY=VALUE pairs ({error})"):
        return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    with framework_output(args.verbose):
        cfg = read_config(args.config, args.cfg_options)
    if takes_videos(cfg):
        from ffc_dense.video.commands import predict as videos

        return videos.main(args, cfg)
    jobs = collect(args.input, args.output)
    with framework_output(args.verbose), reading_input(partial(explain_build, cfg=cfg)):
        classifier = Classifier(cfg, args.checkpoint, args.device, reduce=args.reduce)
        stock = read_stock(args, classifier) if args.stock else None
    sources = {job.target: str(job.source) for job in jobs}
    last: dict = {}
    rows: list[dict] = []

    def draw(image: np.ndarray) -> np.ndarray:
        prediction = classifier(image)
        last.update(row_of(prediction.sample.to_dict(), classifier.classes))
        if stock is None:
            return classifier.draw(image, prediction, args.scale)
        return compared(image, stock, classifier, prediction, args.scale)

    code = run(jobs, draw, lambda target: rows.append({**last, "image": sources[target]}))
    if rows:
        write_rows(rows, Path(args.output, "predictions"))
    return code


def read_stock(args: argparse.Namespace, classifier: Any) -> Any:
    """The classifier of ``--stock``, of the same kind and with the same classes as ``classifier``."""
    cfg = read_config(str(config_path(args.stock[0])), args.cfg_options)
    with reading_input(partial(explain_build, cfg=cfg)):
        found = type(classifier)(cfg, args.stock[1], args.device)
    if found.classes != classifier.classes:
        raise UserError(f"--stock: {args.stock[0]} has other classes than {args.config}")
    return found


def command(argv: list[str] | None = None) -> None:
    with reporting("predict", "--debug" in (sys.argv[1:] if argv is None else argv)):
        sys.exit(main(parse_args(argv)))
