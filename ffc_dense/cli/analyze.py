"""The paper's Table 1 for a trained model: the decisions of each output, the mean and the vote on a test set.

    python tools/analyze_outputs.py CONFIG.yaml model_final.pth [KEY VALUE ...]                 # detectron2
    python tools/analyze_outputs.py CONFIG.py iter_40000.pth [--cfg-options KEY=VALUE ...]      # mmseg, mmpretrain

One pass over the data, in one process. Prints a Markdown table, and writes ``analysis.json``, ``active_units.png``,
``reliability.png``, ``agreement.png``, ``class_gain.png`` and, for mmseg, label maps of the images that changed most
(``gallery/*.png``) into ``--output``. Columns:

  active units               average number of units > 0 in the feature that the output classifies
  mean confidence            of the decisions
  probability of the truth   average probability of the true class
  ECE                        expected calibration error, 15 bins of equal width
  AP, mIoU, top1             of the official evaluator
  won                        share of decisions that the output won in the vote
  changed                    share of decisions that differ from Out1's
  fixed, broken              of the changed ones: right where Out1 was wrong; wrong where Out1 was right

Shares, confidences and ECE are in percent. A decision is a proposal that the box head classifies (its truth: the class
of the ground truth at IoU >= 0.5, else background), a pixel of the predicted label map, or the label of an image or
video. A model without FFC has one row.
"""

import argparse
import importlib
import sys
from pathlib import Path

from ffc_dense.data.own import add_dataset_argument, register
from ffc_dense.errors import UserError
from ffc_dense.errors.quiet import add_verbose_argument, framework_output
from ffc_dense.errors.reporting import add_debug_argument, reporting
from ffc_dense.frameworks import Framework, framework_of
from ffc_dense.inspection.files import NAME, write
from ffc_dense.inspection.table import markdown
from ffc_dense.style import check_matplotlib


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s CONFIG CHECKPOINT [--output DIR] [--gallery N] [--verbose] [--debug] "
              "[--cfg-options KEY=VALUE ... | KEY VALUE ...]",
    )  # fmt: skip
    parser.add_argument("config", metavar="CONFIG", help="the .yaml or .py of the training")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=".pth file")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="for a detectron2 config")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="for a .py config")
    parser.add_argument("--output", help="folder for the results; analysis_CHECKPOINT beside the checkpoint by default")
    parser.add_argument(
        "--gallery",
        type=int,
        default=8,
        metavar="N",
        help="record N images with most fixed and N with most broken decisions; default 8",
    )
    add_dataset_argument(parser)
    add_verbose_argument(parser)
    add_debug_argument(parser)
    return parser.parse_intermixed_args(argv)


def check_arguments(args: argparse.Namespace) -> Framework:
    """The framework of the config.

    Raises:
        UserError: an argument is wrong.
    """
    framework = framework_of(args.config, args.checkpoint, args.overrides, args.cfg_options)
    if args.gallery < 0:
        raise UserError(f"--gallery: expected a number of images, 0 or more, got {args.gallery}")
    check_matplotlib()  # before the pass over the data
    return framework


def analyze(args: argparse.Namespace) -> dict:
    framework = check_arguments(args)
    register(framework, args.datasets)
    if not args.output and "://" in args.checkpoint:
        raise UserError(f"--output: name a folder for the results of {args.checkpoint}")
    folder = Path(args.output or Path(args.checkpoint).parent / f"analysis_{Path(args.checkpoint).stem}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be made: {error}") from error
    with framework_output(args.verbose):  # the standard output has the table alone
        adapter = importlib.import_module(f"{framework.adapter}.commands.analyze")
        report = adapter.analyze(
            args.config, args.checkpoint, args.overrides or args.cfg_options, args.gallery, str(folder)
        )
    report = {"config": args.config, "weights": args.checkpoint, **report}
    print(markdown(report), flush=True)  # first: whatever happens to the files, the scores are printed
    samples = f"{report['images']} {'videos' if report.get('unit') == 'videos' else 'images'}"
    print(f"\n{report['decisions']} decisions on {samples}: {report['decision']}")
    if len(report["outputs"]) == 1:
        print("This model has no FFC classifier, so it has one output and no vote.")
    write(report, folder)
    print(f"analysis and plots: {folder / NAME}", file=sys.stderr)
    return report


def command(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reporting("analyze_outputs.py", args.debug):
        analyze(args)
