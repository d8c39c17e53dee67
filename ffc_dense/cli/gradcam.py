"""Grad-CAM of single outputs (the paper's Fig. 1 and 4) for boxes, regions, images and videos.

    python tools/gradcam.py CONFIG.yaml model_final.pth --input photo.jpg --output pictures              # detectron2
    python tools/gradcam.py CONFIG.py iter_40000.pth --input street.png --output pictures [--pixel 80,60]  # mmseg
    python tools/gradcam.py CONFIG.py iter_200.pth --input clip.avi --output pictures           # mmpretrain, a video

Writes one PNG for each of an image's most confident boxes, for each of its largest predicted classes, or for the image
itself. It shows the image with the box or region outlined, then the maps of Out1, Out3, Out5 and Out7. Each map has the
output's own prediction, its confidence and the number of active units of its feature. Each map is divided by its own
maximum: it shows where the evidence lies, not how much there is.
A video is shown by the middle frame of its middle clip.

Files that cannot be read are reported and skipped. docs/how-to/outputs.md says which feature map is explained.

exit codes:
  0  finished
  1  files were skipped
  2  a wrong argument, config or checkpoint
"""

import argparse
import importlib
import re
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ffc_dense.data.own import add_dataset_argument, register
from ffc_dense.errors import UserError
from ffc_dense.errors.quiet import add_verbose_argument, framework_output
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.frameworks import framework_of
from ffc_dense.pictures.files import Job, collect
from ffc_dense.pictures.run import for_each
from ffc_dense.pictures.writing import write_result
from ffc_dense.style import check_matplotlib


def parse_args(argv: list[str] | None = None) -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG", help="the .yaml or .py of the training")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=".pth file")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH",
                        help="images, folders of images; of a video classifier videos")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="FOLDER")
    parser.add_argument("--outputs", type=numbers, metavar="N,N,...",
                        help="1 for Out1; default: those that classify a stage of the chain, 1,3,5,7")  # fmt: skip
    parser.add_argument(
        "--target",
        default="own",
        metavar="CLASS",
        help="the class whose logit is explained: 'own', each output's own prediction (default); 'vote', the final "
        "prediction; or a class's name",
    )
    parser.add_argument("--limit", type=partial(at_least, 1), default=3, metavar="N",
                        help="boxes or regions of an image; default: 3")  # fmt: skip
    parser.add_argument("--confidence-threshold", type=float, default=0.5, metavar="SCORE",
                        help="boxes of at least this score; default: 0.5; detectron2 only")  # fmt: skip
    parser.add_argument("--pixel", type=numbers, metavar="X,Y", help="explain this pixel; mmseg only")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="config keys of detectron2")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="keys of a .py config")
    add_dataset_argument(parser)
    add_verbose_argument(parser)
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    if args.pixel is not None and len(args.pixel) != 2:
        parser.error("--pixel: expected two numbers, X,Y")
    if not 0 <= args.confidence_threshold <= 1:
        parser.error(f"--confidence-threshold: expected a score from 0 to 1, got {args.confidence_threshold}")
    return args


def numbers(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"expected whole numbers with commas between them, got {text!r}")
    return [int(number) for number in text.split(",")]


def at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number, {least} or more, got {text!r}")
    return int(text)


def label_of(target: str, names: list[str]) -> str | int | None:
    if target in ("own", "vote"):
        return None if target == "own" else target
    if target not in names:
        raise UserError(f"--target {target!r}: expected own, vote or a class of the model: {', '.join(names)}")
    return names.index(target)


def main(args: Namespace) -> int:
    framework = framework_of(args.config, args.checkpoint, args.opts, args.cfg_options)
    register(framework, args.datasets)
    check_matplotlib()  # before any model is built
    jobs = collect(args.input, args.output)
    with reading_input(lambda error: str(error) if isinstance(error, ImportError) else None):
        from ffc_dense.inspection.gradcam.figure import draw
        from ffc_dense.inspection.gradcam.maps import choose_outputs

        with framework_output(args.verbose):
            explainer, names = importlib.import_module(f"{framework.adapter}.commands.gradcam").explainer(args)
    takes_videos = getattr(explainer, "takes_videos", False)
    kinds = ("videos", "images") if takes_videos else ("images", "videos")
    if wrong := [str(job.source) for job in jobs if job.video != takes_videos]:
        raise UserError(f"--input: {', '.join(wrong)}: {args.config} takes {kinds[0]}, not {kinds[1]}")
    target, drawn = label_of(args.target, names), 0
    choice = {"outputs": choose_outputs(explainer.head, args.outputs), "target": target, "limit": args.limit}
    if args.pixel is not None:
        choice["pixel"] = tuple(args.pixel)

    def work(job: Job) -> None:
        nonlocal drawn
        pictures = explainer(str(job.source), **choice)
        if not pictures:
            tqdm.write(f"{job.source}: no detection of at least {args.confidence_threshold:g}, no figure")
        for number, picture in enumerate(pictures, 1):
            # The whole name, since a folder may hold photo.jpg and photo.png.
            write_result(draw(picture), job.target.parent / f"{job.source.name}.gradcam{number}.png")
            drawn += 1

    skipped = for_each(jobs, work)
    print(f"{drawn} figures of {len(jobs) - skipped} {kinds[0]} in {Path(args.output)}", end="")
    print(f", {skipped} skipped" if skipped else "")
    return 1 if skipped else 0


def command(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reporting("gradcam.py", args.debug):
        sys.exit(main(args))
