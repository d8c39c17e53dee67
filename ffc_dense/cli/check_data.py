"""Check a dataset before training.

python tools/check_dataset.py coco DETECTRON2_DATASETS/coco
python tools/check_dataset.py cityscapes data/cityscapes
python tools/check_dataset.py imagenet data/imagenet

Prints one line per fault: severity, path, what is wrong, what to do. No framework is required.
docs/how-to/datasets.md explains the faults.

exit codes:
  0    no errors
  1    errors
  2    the command or its paths are wrong
  130  interrupted
"""

import argparse
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ffc_dense.data import (
    KINDS,
    Report,
    check_cityscapes,
    check_coco,
    check_hmdb51,
    check_imagenet,
    make_train_ids,
)
from ffc_dense.data.cityscapes import cityscapes_root
from ffc_dense.errors import UserError
from ffc_dense.text import write_json_option


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    if natural(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return int(text)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    layouts = parser.add_subparsers(dest="layout", required=True)
    folders = {
        "coco": "annotations/, train2017/ and val2017/",
        "cityscapes": "leftImg8bit/ and gtFine/",
        "imagenet": "train/ and val/",
        "hmdb51": "videos/ and testTrainMulti_7030_splits/",
    }
    for layout, holds in folders.items():
        sub = layouts.add_parser(layout, help=f"a dataset in the layout of {layout}", allow_abbrev=False)
        sub.add_argument("path", type=Path, help=f"the folder with {holds}, or the folder that has {layout}/ in it")
        if layout != "hmdb51":  # its splits share their videos
            sub.add_argument("--split", choices=("train", "val"), help="check this split only")
            names = ("--classes", "--num-classes") if layout == "imagenet" else ("--num-classes",)
            sub.add_argument(*names, dest="num_classes", type=positive, help="as in the model's config")
        sub.add_argument(
            "--num-train",
            type=positive,
            help="number of images in train; default: the official number, or that of the mini dataset",
        )
        sub.add_argument("--num-val", type=positive, help="number of images in val")
        sub.add_argument("--any-size", action="store_true", help="do not check the number of images")
        sub.add_argument(
            "--fast",
            action="store_true",
            help="read only the headers and ends of files (for Cityscapes also 20 labels per split, for videos the "
            "first frame): damage in between is not found",
        )
        sub.add_argument("--workers", type=positive, help="processes; default: one per core, at most 16")
        sub.add_argument("--max-lines", type=natural, default=10, help="lines per kind of fault (default: 10; 0: all)")
        sub.add_argument(
            "--as-warning",
            action="append",
            default=[],
            choices=KINDS,
            metavar="KIND",
            help="report faults of this kind (the word in brackets) as warnings; may be repeated",
        )
        sub.add_argument("--json", type=Path, metavar="FILE", help="also write the report to FILE")
        if layout == "coco":
            for split in ("train", "val"):
                sub.add_argument(
                    f"--{split}",
                    nargs=2,
                    metavar=("JSON", "IMAGES"),
                    help=f"annotation file and image folder of {split}, relative to PATH: for another layout, any size",
                )
        elif layout == "cityscapes":
            sub.add_argument(
                "--make-train-ids",
                action="store_true",
                help="first write missing labelTrainIds with cityscapesscripts",
            )
            sub.add_argument("--overwrite", action="store_true", help="with --make-train-ids: write all of them again")
    args = parser.parse_args(argv)
    sub = layouts.choices[args.layout]
    if not args.path.is_dir():
        sub.error(f"{args.path}: {'is not a folder' if args.path.exists() else 'no such folder'}")
    if args.json is not None and not args.json.absolute().parent.is_dir():
        sub.error(f"--json {args.json}: no such folder: {args.json.absolute().parent}")
    if args.layout == "cityscapes" and args.overwrite and not args.make_train_ids:
        sub.error("--overwrite: only with --make-train-ids")
    if args.any_size and (args.num_train or args.num_val):
        sub.error("--any-size: not together with --num-train or --num-val")
    if args.layout == "coco" and args.split and (args.train or args.val) and not getattr(args, args.split):
        sub.error(f"--split {args.split}: then give --{args.split} JSON IMAGES too")
    return args


def check(args: argparse.Namespace, report: Report) -> None:
    common: dict[str, Any] = {
        "counts": {"train": args.num_train, "val": args.num_val},
        "any_size": args.any_size,
        "fast": args.fast,
        "workers": args.workers,
        "progress": True,
    }
    if args.layout == "hmdb51":
        check_hmdb51(args.path, report, **common)
        return
    common["splits"] = [args.split] if args.split else ["train", "val"]
    if args.layout == "coco":
        files = {split: tuple(pair) for split in ("train", "val") if (pair := getattr(args, split))}
        check_coco(args.path, report, files=files, num_classes=args.num_classes, **common)
        return
    if args.layout == "imagenet":
        check_imagenet(args.path, report, num_classes=args.num_classes, **common)
        return
    if args.make_train_ids:
        make_train_ids(cityscapes_root(args.path), report, common["splits"], args.overwrite, args.workers, True)
    if args.num_classes:
        common["num_classes"] = args.num_classes
    check_cityscapes(args.path, report, **common)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (argparse exits itself, with 2)."""
    args = parse(argv)
    sys.stdout.reconfigure(errors="backslashreplace")  # for file names that the terminal's encoding lacks

    report = Report(args.max_lines, args.as_warning, tqdm.write)  # above the progress bar
    try:
        check(args, report)
        for line in report.further():
            print(line)
        if args.json is not None:
            content = {"layout": args.layout, "path": str(args.path), "fast": args.fast, **report.as_dict()}
            write_json_option("--json", content, args.json)
    except (OSError, ImportError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print("error: a worker process was killed, perhaps because memory ran out: try --workers 1", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted before the end; {report.totals()} so far", file=sys.stderr)
        return 130
    note = " (headers and ends only: run without --fast to find files damaged in between)" if args.fast else ""
    print(f"{report.summary()}{note}")
    return 1 if report.errors else 0


def command(argv: list[str] | None = None) -> None:
    sys.exit(main(argv))
