"""Segment images, folders and videos with a trained mmseg model, stock or FFC, and draw the labels over them.

Writes a picture or an .mp4 for each file into the folder ``--output``. Files that cannot be read are reported and left
out; the exit code is then 1.

    python tools/demo_segment.py CONFIG.py model.pth --input street.jpg photos/ drive.mp4 --output out
    python tools/demo_segment.py CONFIG.py model.pth --input street.jpg --output out --maps

``--maps`` draws confidence beside the labels and, where outputs vote, agreement: how many outputs chose the class.
``--save-maps`` writes them as numbers into the folder ``maps`` beside the pictures: an .npz and greyscale PNGs for
each image. ``--stock`` draws another model beside this one, and where the two disagree.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import DictAction

from ffc_dense.cli.shipped_configs import config_path
from ffc_dense.errors import UserError
from ffc_dense.errors.quiet import add_verbose_argument, framework_output
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.openmmlab.inputs.config_errors import explain_build
from ffc_dense.openmmlab.inputs.read_config import read_config
from ffc_dense.pictures.files import add_stock_argument, collect
from ffc_dense.pictures.run import run
from ffc_dense.pictures.scale import add_scale_argument
from ffc_dense.segmentation import Segmentor
from ffc_dense.segmentation.inspection.comparison import compared
from ffc_dense.segmentation.inspection.legend import legend
from ffc_dense.segmentation.inspection.map_files import maps_of, write_maps
from ffc_dense.segmentation.inspection.map_pictures import beside_maps


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help=".pth file")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="images, folders, videos")
    parser.add_argument("--output", required=True, metavar="FOLDER")
    parser.add_argument(
        "--opinions", "--maps", dest="maps", action="store_true", help="draw confidence and agreement too"
    )
    parser.add_argument("--save-maps", action="store_true", help="write an .npz and greyscale PNGs for each image")
    parser.add_argument("--reduce", metavar="NAME", help="vote, mean, out1 ...; the config's own by default")
    parser.add_argument("--opacity", type=float, default=0.5, help="of the labels' colours; default: 0.5")
    parser.add_argument("--no-names", action="store_true", help="leave out the legend of the classes")
    add_stock_argument(parser)
    add_scale_argument(parser)
    parser.add_argument("--device", help="of torch; default: cuda where there is one, else cpu")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value overrides of the config")
    add_verbose_argument(parser)
    add_debug_argument(parser)
    with reading_input(lambda error: f"--cfg-options: expected KEY=VALUE pairs ({error})"):
        args = parser.parse_args(argv)
    if not 0 < args.opacity <= 1:
        parser.error(f"--opacity: expected a number above 0 and up to 1, got {args.opacity}")
    return args


def read_models(args: argparse.Namespace) -> tuple[Segmentor, Segmentor | None]:
    """The model, and that of ``--stock``."""
    cfg = read_config(args.config, args.cfg_options)
    stock = read_config(str(config_path(args.stock[0])), args.cfg_options) if args.stock else None
    with reading_input(partial(explain_build, cfg=cfg)):
        opinions = args.maps or args.save_maps
        model = Segmentor(cfg, args.checkpoint, args.device, reduce=args.reduce, opinions=opinions)
    if stock is None:
        return model, None
    with reading_input(partial(explain_build, cfg=stock)):
        other = Segmentor(stock, args.stock[1], args.device)
    if other.classes != model.classes:
        raise UserError(f"--stock: {args.stock[0]} has other classes than {args.config}")
    return model, other


class Drawing:
    """The picture of an image, and the numbers behind the last one.

    Args:
        segmentor: with ``opinions`` if maps are asked for.
        stock: the model to compare it with, or None.
        args: of the command line.
    """

    def __init__(self, segmentor: Segmentor, stock: Segmentor | None, args: argparse.Namespace):
        self.segmentor, self.stock, self.args = segmentor, stock, args
        self.maps: dict[str, np.ndarray] = {}

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8, BGR, -> its picture, of the same kind."""
        result = self.segmentor(image)
        scale = self.args.scale
        if self.args.maps or self.args.save_maps:
            self.maps = maps_of(result)
        maps = self.maps if self.args.maps else {}
        if self.stock is not None:
            picture = compared(image, self.stock, self.segmentor, result, maps, self.args.opacity, scale)
        else:
            picture = self.segmentor.draw(image, result, self.args.opacity, False, scale)
            picture = beside_maps(picture, maps) if maps else picture
        if self.args.no_names:
            return picture
        labels = result.pred_sem_seg.data[0].cpu().numpy().astype(np.int64)
        below = legend(labels, self.segmentor.classes, self.segmentor.palette, picture.shape[1])
        return np.concatenate([picture, below])

    def save_maps(self, target: Path) -> None:
        """Write the maps of the last image, whose picture is ``target``, into a folder beside it."""
        write_maps(self.maps, target.parent / "maps" / target.name)


def main(args: argparse.Namespace) -> int:
    jobs = collect(args.input, args.output)
    with framework_output(args.verbose):
        drawing = Drawing(*read_models(args), args)
    return run(jobs, drawing, drawing.save_maps if args.save_maps else None)


def command(argv: list[str] | None = None) -> None:
    with reporting("demo_segment.py", "--debug" in (sys.argv[1:] if argv is None else argv)):
        sys.exit(main(parse_args(argv)))
