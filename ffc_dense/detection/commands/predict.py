"""Draw what a trained detector finds in images, folders of images and videos.

    python tools/demo_detect.py --config-file CONFIG.yaml --weights model_final.pth --input photo.jpg folder video.mp4 \
        --output pictures [--confidence-threshold 0.5] [--opinions] [--opts KEY VALUE ...]

For each image a picture of the same name is written, for each video an .mp4. With ``--opinions`` a label ends in the
votes: in "cat 97% 5/7" five of seven outputs chose the class cat. Boxes whose class half of the outputs or fewer chose
are dashed, those whose class none chose grey and dotted; a summary is below the image. ``--stock`` draws another
detector beside this one, and the boxes of which the two disagree. A file that cannot be read is reported and skipped.
Exit code: 0, 1 if files were skipped, 2 for a wrong config, checkpoint or argument.
"""

import argparse
import sys
from functools import partial

from ffc_dense.cli.shipped_configs import config_path
from ffc_dense.data.own import add_dataset_argument
from ffc_dense.detection import Detector
from ffc_dense.detection.inputs.config_errors import explain_build, explain_lazy
from ffc_dense.detection.inputs.datasets import register_own
from ffc_dense.detection.inputs.lazy import is_lazy, override, read_lazy_config
from ffc_dense.detection.inputs.read_config import read_config
from ffc_dense.detection.inspection.comparison import compared
from ffc_dense.detection.inspection.drawing import draw
from ffc_dense.errors import UserError
from ffc_dense.errors.quiet import add_verbose_argument, framework_output
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.method.reductions import choose_reductions, ffc_layers
from ffc_dense.pictures.files import add_stock_argument, collect
from ffc_dense.pictures.run import run
from ffc_dense.pictures.scale import add_scale_argument


def main(args) -> int:
    jobs = collect(args.input, args.output)
    register_own(args.datasets)
    if is_lazy(args.config_file):
        device = [override("train.device", args.device)] if args.device else []
        cfg = read_lazy_config(args.config_file, [*args.opts, *device], ())
    else:
        chosen = {"MODEL.ROI_BOX_HEAD.FFC.TEST_REDUCE": args.reduce, "MODEL.DEVICE": args.device}
        pairs = [word for key, value in chosen.items() if value for word in (key, value)]
        cfg = read_config(args.config_file, [*args.opts, *pairs], splits=())
    explain = partial(explain_lazy if is_lazy(cfg) else explain_build, cfg=cfg)
    with framework_output(args.verbose), reading_input(explain):
        detector = Detector(cfg, args.weights, opinions=args.opinions, confidence_threshold=args.confidence_threshold)
        if is_lazy(cfg) and args.reduce:
            (name,) = choose_reductions(detector.model, [args.reduce])
            for layer in ffc_layers(detector.model):
                layer.test_reduce = name
    if not args.stock:
        return run(jobs, lambda image: draw(image, detector(image), detector.metadata, args.scale))
    with framework_output(args.verbose):
        stock = read_stock(args)
    if stock.metadata.thing_classes != detector.metadata.thing_classes:
        raise UserError(f"--stock: {args.stock[0]} has other classes than {args.config_file}")
    return run(jobs, lambda image: compared(image, stock(image), detector(image), detector.metadata, args.scale))


def read_stock(args) -> Detector:
    """The detector of ``--stock``, with the device, the threshold and ``--opts`` of the other one."""
    config, checkpoint = str(config_path(args.stock[0])), args.stock[1]
    if is_lazy(config):
        device = [override("train.device", args.device)] if args.device else []
        cfg = read_lazy_config(config, [*args.opts, *device], ())
    else:
        cfg = read_config(config, [*args.opts, *(["MODEL.DEVICE", args.device] if args.device else [])], splits=())
    with reading_input(partial(explain_lazy if is_lazy(cfg) else explain_build, cfg=cfg)):
        return Detector(cfg, checkpoint, opinions=False, confidence_threshold=args.confidence_threshold)


def parse_args(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config-file", required=True, metavar="CONFIG", help="the .yaml or LazyConfig .py file of the training"
    )
    parser.add_argument("--weights", default="", metavar="CHECKPOINT", help="by default MODEL.WEIGHTS of the config")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="images, videos, folders of them")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder for the pictures")
    parser.add_argument("--confidence-threshold", type=threshold, default=0.5, metavar="SCORE",
                        help="draw detections of at least this score; default: %(default)s")  # fmt: skip
    parser.add_argument("--opinions", action="store_true", help="show how many outputs chose the detection's class")
    parser.add_argument("--reduce", metavar="NAME", help="vote, mean, out1 ...; the config's own by default")
    parser.add_argument("--device", help="of torch; default: cuda where there is one, else cpu")
    add_stock_argument(parser)
    add_scale_argument(parser)
    add_dataset_argument(parser)
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="config keys (LazyConfig: KEY=VALUE); last",
    )
    add_verbose_argument(parser)
    add_debug_argument(parser)
    return parser.parse_args(argv)


def threshold(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a score from 0 to 1, got {text}")
    return value


def command(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reporting("demo_detect.py", args.debug):
        sys.exit(main(args))
