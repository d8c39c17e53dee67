"""One self-contained HTML page about finished runs.

    ffc-dense report work_dirs/faster_rcnn_ffc --stock work_dirs/faster_rcnn      # one run and its baseline
    ffc-dense report work_dirs/demo                                               # all runs in a folder

It begins with a verdict in two sentences. It shows the scores of FFC and its baseline, the training curves, and, where
``ffc-dense analyze`` has analysed a run, what each output decides, with a gallery of the images in which the vote fixed
or broke most decisions of Out1. A run that was not analysed, or whose last checkpoint is newer than its analysis, gets
the command that does it; ``--analyze`` runs it. ``--pictures`` adds what ``ffc-dense predict`` drew.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.reliability.saving import NotSaved, write_text_atomically
from ffc_dense.report import Group, collect, render
from ffc_dense.report.page import MOST_IMAGES
from ffc_dense.runs import analyses

ANALYZE = ("-m", "ffc_dense", "analyze")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="output folder of a run, or a folder of such")
    parser.add_argument(
        "--stock",
        action="append",
        default=[],
        metavar="STOCK_RUN_DIR",
        help="output folder of the baseline (stock) run, if it is not among RUN_DIR; may be given again",
    )
    parser.add_argument("--output", metavar="HTML", help="default: report.html in the first RUN_DIR")
    parser.add_argument(
        "--max-images",
        type=int,
        default=MOST_IMAGES,
        metavar="N",
        help=f"in the gallery of each run, and of each folder of --pictures; default {MOST_IMAGES}",
    )
    parser.add_argument(
        "--analyze",
        action="store_true",
        help="analyse the FFC runs that have no analysis, or one older than their last checkpoint",
    )
    parser.add_argument("--pictures", nargs="+", default=[], metavar="FOLDER",
                        help="show the pictures that ffc-dense predict --stock wrote there")  # fmt: skip
    add_debug_argument(parser)
    return parser.parse_args(argv)


def explain(error: Exception) -> str | None:
    """The text of errors of ``ffc_dense.paper``, which name the file."""
    return str(error) if type(error) in (FileNotFoundError, ValueError) else None


def analyze_missing(groups: list[Group]) -> None:
    """Analyse the FFC runs without an analysis, or with one older than the checkpoint, each in its own process.

    Raises:
        UserError: an analysis failed.
    """
    todo = [subject for group in groups for subject in group.subjects
            if not subject.is_stock and (subject.analysis is None or subject.analysis.newer)]  # fmt: skip
    for subject in todo:
        run = subject.run
        command = [sys.executable, *ANALYZE, *analyses.command(run)]
        print(f"analysing {run.folder}", file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        if done.returncode != 0:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise UserError(f"--analyze: {run.folder}: exit code {done.returncode}: {last}")
        subject.analysis = analyses.find(run)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reporting("report.py", args.debug):
        if args.max_images < 0:
            raise UserError(f"--max-images: expected a number of images, 0 or more, got {args.max_images}")
        output = Path(args.output or Path(args.runs[0]) / "report.html")
        with reading_input(explain):
            groups = collect(args.runs, args.stock)
            if args.analyze:
                analyze_missing(groups)
            page = render(groups, args.max_images, pictures=args.pictures)
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(page, output)
        except (OSError, NotSaved) as error:
            cause = error.__cause__ if isinstance(error, NotSaved) else error
            raise UserError(f"--output: {output} cannot be written: {cause}") from error
        print(f"report: {os.path.relpath(output)} ({output.stat().st_size / 1e6:.1f} MB)")


def command(argv: list[str] | None = None) -> None:
    main(argv)
