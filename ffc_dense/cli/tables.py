"""Scores of finished runs of every framework, beside the paper's Tables 2 to 6, with paired tests over seeds.

Takes output folders of detectron2, work directories of mmengine, and folders of evaluations (tools/eval_coco.py,
tools/eval_cityscapes.py, train_net.py --eval-only, mmseg's test.py). Runs of one config with different seeds are one
row. Stock and FFC are paired by seed. A missing or unfinished run is shown as such, never as a number. A folder or an
evaluation that cannot be read is listed at the end as left out. The exit code is 2 if no run is left.

    python tools/results_table.py work_dirs/*                       # Markdown
    python tools/results_table.py RUN... --plot results.png --json results.json
"""

import argparse
import os
import sys
from pathlib import Path

from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reporting
from ffc_dense.paper import compare, read_runs, without_doubles
from ffc_dense.paper.as_json import as_json
from ffc_dense.paper.markdown import report
from ffc_dense.paper.plot import draw
from ffc_dense.text import write_json_option


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN_DIR", help="none: the paper's tables alone")
    parser.add_argument(
        "--reduce",
        nargs="+",
        metavar="NAME",
        help="test modes of FFC that get a row (vote, mean, out1 ...); default: all that there are",
    )
    parser.add_argument("--json", metavar="FILE", help="also write every run, average and test to FILE")
    parser.add_argument("--plot", metavar="PNG", help="draw the scores to PNG")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    left_out: list[str] = []
    runs = without_doubles(read_runs(args.runs, left_out), left_out)
    lines = "".join(f"\n- {line}" for line in left_out)
    if args.runs and not runs:
        raise ValueError(f"no run in the folders given:{lines}")
    comparisons = compare(runs)
    # Before printing: a reader such as `head` can end this process.
    if args.json:
        write_json_option("--json", as_json(comparisons), args.json)
    if args.plot:
        reduction = args.reduce[0] if args.reduce else "vote"
        drawn = draw(comparisons, Path(args.plot), reduction)
        print(f"plot: {args.plot}" if drawn else "plot: not written, no run has a score", file=sys.stderr)
    print(report(comparisons, args.reduce))
    if left_out:
        print(f"\n### Left out\n{lines}")
    sys.stdout.flush()


def command(argv: list[str] | None = None) -> None:
    with reporting("results_table", debug=False):
        try:
            main(argv)
        except BrokenPipeError:  # the reader closed the pipe; Python would report it again when it closes stdout
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (FileNotFoundError, ValueError, ImportError) as error:
            raise UserError(str(error)) from error
