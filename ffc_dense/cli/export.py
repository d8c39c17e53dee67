"""Write a trained detector, segmentor or classifier to a file that runs without the framework, and check that file.

    python tools/export_model.py CONFIG.yaml model_final.pth --format onnx --output detector.onnx    # detectron2
    python tools/export_model.py CONFIG.py iter_400.pth --format onnx --output segmentor.onnx        # mmseg, mmpretrain

Formats: onnx; torch_export (.pt2 of torch.export); torchscript (a trace). The file is then loaded (ONNX in onnxruntime)
and run on images of other sizes than the recorded one, and other batches, except for detectors. If its predictions
differ from the framework's, the file is removed and the exit code is 2.
Inputs, outputs and limits: docs/how-to/export.md.
"""

import argparse
import importlib
import os
from functools import partial
from pathlib import Path

from ffc_dense.data.own import add_dataset_argument, register
from ffc_dense.errors import CannotWrite, UserError
from ffc_dense.errors.quiet import add_verbose_argument, framework_output
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.errors.wording import SEE_TRACEBACK, first_lines
from ffc_dense.export import recording
from ffc_dense.export.recording import FORMATS, OPSET, OPSETS
from ffc_dense.frameworks import framework_of


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s CONFIG CHECKPOINT --format FORMAT --output FILE [--reduce NAME] [--opset N] [--debug] "
              "[--images FILE ...] [--cfg-options KEY=VALUE ... | KEY VALUE ...]",
    )  # fmt: skip
    parser.add_argument("config", metavar="CONFIG", help="the .yaml or .py of the training")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=".pth or .safetensors file")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="for a detectron2 config")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="for a .py config")
    parser.add_argument("--format", choices=FORMATS, default="onnx")
    parser.add_argument("--output", required=True, metavar="FILE", help="an existing file is replaced")
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="FILE",
        help="check a detector on these images too: a trained one finds nothing in noise",
    )
    parser.add_argument("--reduce", metavar="NAME", help="vote, mean, out1 ... outM; the config's own by default")
    parser.add_argument(
        "--opset", type=int, default=OPSET, metavar="N", help=f"of ONNX, {OPSETS[0]} to {OPSETS[-1]}; default {OPSET}"
    )
    add_dataset_argument(parser)
    add_verbose_argument(parser)
    add_debug_argument(parser)
    return parser.parse_intermixed_args(argv)


def check_arguments(args: argparse.Namespace) -> None:
    if args.opset not in OPSETS:
        raise UserError(f"--opset: expected {OPSETS[0]} to {OPSETS[-1]}, got {args.opset}")
    if not Path(args.output).absolute().parent.is_dir():
        raise UserError(f"--output: the folder {Path(args.output).absolute().parent} does not exist")
    if Path(args.output).is_dir():
        raise UserError(f"--output: {args.output} is a folder; name a file")
    try:  # before recording, which takes minutes
        probe = Path(f"{args.output}.unchecked.pt2")
        probe.touch()
        probe.unlink()
    except OSError as error:
        fault = f"--output: {args.output} cannot be written ({error.strerror}); choose another folder"
        raise CannotWrite(fault) from error


def explain(output: str, what: str, error: Exception) -> str:
    return f"{output} was not written, {what}: {type(error).__name__}: {first_lines(error)}; {SEE_TRACEBACK}"


def export(args: argparse.Namespace) -> None:
    framework = framework_of(args.config, args.checkpoint, args.overrides, args.cfg_options)
    check_arguments(args)
    register(framework, args.datasets)
    with framework_output(args.verbose):  # the exporters' too
        side = importlib.import_module(f"{framework.adapter}.commands.export")
        from ffc_dense.export.checking import verify

        with reading_input(lambda error: str(error) if isinstance(error, ValueError) else None):
            overrides = args.overrides or args.cfg_options
            model = side.load(args.config, args.checkpoint, overrides, args.reduce, args.images)
        # The file gets its name once it is checked, so that no wrong file is left.
        unchecked = f"{args.output}.unchecked.pt2"  # torch.export warns of other suffixes
        try:
            with reading_input(partial(explain, args.output, f"{FORMATS[args.format]} failed on this model")):
                recording.write(model, unchecked, args.format, args.opset)
            with reading_input(partial(explain, args.output, "the recorded file failed when it was checked")):
                agreement = verify(model.reference, recording.load(unchecked, args.format), model.checks, side.compare)
            if not agreement.decisions:
                raise UserError(f"{args.output} was not written: no image gave a detection; name images with --images")
            if not agreement.passes:
                raise UserError(f"{args.output} was not written: its predictions differ from the model's: {agreement}")
            os.replace(unchecked, args.output)
        finally:
            Path(unchecked).unlink(missing_ok=True)
    print(f"{args.output}: {args.format}, {', '.join(f'{key} {value}' for key, value in model.about.items())}")
    for name in (*model.inputs, *model.outputs):
        print(f"  {name}: any {', '.join(model.dynamic[name].values())}")
    print(f"checked on other sizes, {agreement}")


def command(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reporting("export_model.py", args.debug):
        export(args)
