"""Write the mini COCO, Cityscapes, ImageNet and HMDB51 datasets."""

import argparse
import sys
from pathlib import Path

from . import DatasetFolderError, make_mini_cityscapes, make_mini_coco, make_mini_hmdb51, make_mini_imagenet

MAKERS = {"coco": make_mini_coco, "cityscapes": make_mini_cityscapes, "imagenet": make_mini_imagenet}
BY_NAME = {"hmdb51": make_mini_hmdb51}  # needs OpenCV, so `all` leaves it out


def main(argv=None):
    """Run the command line; returns 0, or 2 for a bad argument or a folder that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m ffc_dense.minidata", description=__doc__)
    parser.add_argument(
        "dataset", choices=[*MAKERS, *BY_NAME, "all"], help="all: ROOT/mini_DATASET for each, without hmdb51"
    )
    parser.add_argument("--root", required=True, type=Path, help="folder: new, empty or of an earlier run")
    parser.add_argument(
        "--num-train",
        type=int,
        help="default: 400 for coco, 300 for cityscapes, 200 per class for imagenet, 120 for hmdb51",
    )
    parser.add_argument(
        "--num-val", type=int, help="default: 100 for coco, 80 for cityscapes, 60 per class, 48 for hmdb51"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    counts = {"num_train": args.num_train, "num_val": args.num_val}
    counts = {name: value for name, value in counts.items() if value is not None}
    try:
        if args.dataset == "all":
            for name, make in MAKERS.items():
                make(args.root / f"mini_{name}", seed=args.seed, **counts)
        else:
            (MAKERS | BY_NAME)[args.dataset](args.root, seed=args.seed, **counts)
    except (DatasetFolderError, ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def command(argv=None):
    sys.exit(main(argv))


if __name__ == "__main__":
    command()
