#!/usr/bin/env python
"""Scores of finished runs of both frameworks, beside the paper's Tables 4 and 5, with paired tests over seeds.

Takes output folders of detectron2, work directories of mmengine, and folders of evaluations (tools/eval_coco.py,
tools/eval_cityscapes.py, train_net.py --eval-only, mmseg's test.py). Runs that share a config but for the seed are one
row; stock and FFC are paired by seed. A run that is missing or unfinished is shown as that, never as a number.

    python tools/results_table.py work_dirs/*                       # Markdown
    python tools/results_table.py RUN... --plot results.png --json results.json
"""

import argparse
import json
import sys
from pathlib import Path

from ffc_dense.results import EXPECTED, compare, holds_run, read_runs
from ffc_dense.results.export import as_json
from ffc_dense.results.markdown import report
from ffc_dense.results.plot import draw


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN_DIR", help="none: the paper's table, all runs missing")
    parser.add_argument("--reduce", nargs="+", metavar="NAME",
                        help="reductions of FFC that get a row (vote, mean, out1 ...); default: all that there are")
    parser.add_argument("--json", metavar="FILE", help="write every run, mean and test there too")
    parser.add_argument("--plot", metavar="PNG", help="write a picture of AP and mIoU there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folders = list(map(Path, args.runs))
    others = [folder for folder in folders if folder.exists() and not holds_run(folder)]
    if others and len(others) == len(folders):
        raise FileNotFoundError(f"no run in {', '.join(map(str, others))}: {EXPECTED}")
    comparisons = compare(read_runs(folder for folder in folders if folder not in others))
    print(report(comparisons, args.reduce))
    if others:
        print(f"\nLeft out, no runs: {', '.join(map(str, others))}")
    if args.json:
        Path(args.json).write_text(json.dumps(as_json(comparisons), indent=1) + "\n")
    if args.plot:
        reduction = args.reduce[0] if args.reduce else "vote"
        drawn = draw(comparisons, Path(args.plot), reduction)
        print(f"plot: {args.plot}" if drawn else "plot: not written, no run has a score", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError, ImportError) as error:
        sys.exit(f"results_table: {error}")
