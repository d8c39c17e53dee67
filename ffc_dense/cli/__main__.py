"""``ffc-dense COMMAND``: the program that pip installs; ``python -m ffc_dense`` is the same.

For a command with a CONFIG, ``frameworks.py`` finds the framework and the ``commands`` of its adapter run. Modules are
imported when their command runs, so ``--help`` requires no framework.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from ..errors import UserError
from ..errors.reporting import reporting
from ..frameworks import DETECTRON2, MMSEG, Framework, recognise
from .entry import run, without_noise
from .shipped_configs import config_path

PROGRAM = "ffc-dense"


@dataclass(frozen=True)
class Command:
    """A command of the program.

    Args:
        summary: one line.
        usage: the arguments.
        example: a command line that works.
        details: the framework's own arguments, for commands that pass them on.
        module: of this package; its ``command(argv)`` runs.
        takes_config: whether the first argument is a CONFIG, which decides the adapter.
    """

    summary: str
    usage: str
    example: str
    details: str = ""
    module: str = ""
    takes_config: bool = False


OPTIONS = (
    "detectron2: KEY VALUE pairs at the end, as for its tools. The others: --cfg-options KEY=VALUE, and --data FOLDER "
    "of your own images (docs/how-to/datasets.md)."
)
COMMANDS = {
    "train": Command(
        "train a model, stock or FFC",
        "CONFIG [--resume] [ARGS of the framework]",
        "train mini_coco/faster_rcnn_R_18_FPN_ffc.yaml SOLVER.MAX_ITER 100",
        "detectron2: the arguments of its train_net.py (--num-gpus, --resume, KEY VALUE ...; a LazyConfig's are "
        "key=value). The others: those of the framework's train.py (--work-dir, --resume, --amp, --cfg-options "
        "KEY=VALUE ...), --device cpu and --data FOLDER of your own images (docs/how-to/datasets.md).",
        takes_config=True,
    ),
    "evaluate": Command(
        "score a checkpoint with the vote, the mean and every single output, in one pass",
        "CONFIG CHECKPOINT [--reduce NAMES] [--output DIR] [--ensemble CHECKPOINT ...] [--opinions] [ARGS]",
        "evaluate mini_coco/faster_rcnn_R_18_FPN_ffc.yaml work_dirs/faster_rcnn_R_18_FPN_ffc/model_final.pth "
        "--reduce all",
        OPTIONS,
        takes_config=True,
    ),
    "predict": Command(
        "draw what a checkpoint finds in images, folders and videos",
        "CONFIG CHECKPOINT --input PATH ... --output DIR [--stock CONFIG CHECKPOINT] [--reduce NAME] [--opinions] "
        "[--device DEVICE] [ARGS]",
        "predict mini_coco/faster_rcnn_R_18_FPN_ffc.yaml model_final.pth --input photo.jpg --output pictures",
        "detectron2: --opts KEY VALUE ... at the end. The others: --cfg-options KEY=VALUE.",
        takes_config=True,
    ),
    "analyze": Command(
        "the decisions of each output, the mean and the vote on a test set (the paper's Table 1)",
        "CONFIG CHECKPOINT [--output DIR] [ARGS]",
        "analyze mini_cityscapes/pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py iter_400.pth",
        module="ffc_dense.cli.analyze",
        takes_config=True,
    ),
    "gradcam": Command(
        "Grad-CAM of single outputs, for boxes, regions, images or videos",
        "CONFIG CHECKPOINT --input PATH ... --output DIR [ARGS]",
        "gradcam mini_coco/faster_rcnn_R_18_FPN_ffc.yaml model_final.pth --input photo.jpg --output maps",
        module="ffc_dense.cli.gradcam",
        takes_config=True,
    ),
    "export": Command(
        "write ONNX, torch.export or TorchScript, and check the file before it is kept",
        "CONFIG CHECKPOINT --output FILE [--format onnx] [ARGS]",
        "export mini_cityscapes/pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py iter_400.pth --output psp.onnx",
        module="ffc_dense.cli.export",
        takes_config=True,
    ),
    "report": Command(
        "one HTML page about finished runs",
        "RUN_DIR ... [--output HTML]",
        "report work_dirs/faster_rcnn_R_18_FPN_ffc",
        module="ffc_dense.cli.report",
    ),
    "tables": Command(
        "the paper's tables, with your runs' scores beside the paper's",
        "RUN_DIR ... [--json FILE] [--plot PNG]",
        "tables work_dirs/*",
        module="ffc_dense.cli.tables",
    ),
    "check-data": Command(
        "check a dataset before training",
        "coco|cityscapes|imagenet|hmdb51 PATH [ARGS]",
        "check-data coco data/mini_coco",
        module="ffc_dense.cli.check_data",
    ),
    "convert": Command(
        "checkpoints to safetensors and back; with --backbone, ImageNet ResNets to a framework's names",
        "SOURCE TARGET [--backbone torchvision|toolbox] [ARGS]",
        "convert model_final.pth model_final.safetensors",
        module="ffc_dense.cli.convert",
    ),
    "overhead": Command(
        "parameters and FLOPs that FFC adds to each shipped config",
        "[--only PATTERN] [--json FILE]",
        "overhead --only mini_coco",
        module="ffc_dense.cli.overhead",
    ),
    "extract-flow": Command(
        "frames and TV-L1 optical flow of HMDB51's videos, as the MARS code stores them",
        "PATH [--short-side PIXELS] [--workers N]",
        "extract-flow data/mini_hmdb51 --short-side 48",
        module="ffc_dense.cli.extract_flow",
    ),
    "evaluate-streams": Command(
        "score RGB, flow and MARS streams alone and together (the paper's Table 6)",
        "CONFIG CHECKPOINT CONFIG CHECKPOINT ... [--output FILE]",
        "evaluate-streams rgb.py rgb.pth flow.py flow.pth",
        module="ffc_dense.video.commands.evaluate_streams",
    ),
    "minidata": Command(
        "write the mini datasets, in the layouts of COCO, Cityscapes, ImageNet and HMDB51",
        "all|coco|cityscapes|imagenet|hmdb51 --root DIR",
        "minidata all --root data",
        module="ffc_dense.minidata.__main__",
    ),
    "demo": Command(
        "train and evaluate stock and FFC models on the mini dataset, on the CPU, in minutes",
        "[--work-dir DIR]",
        "demo",
        module="ffc_dense.cli.demo",
    ),
}


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND ...",
            "",
            "Sequential Feature Filtering Classifier for detectron2, MMSegmentation and MMPretrain.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help shows the arguments and an example. CONFIG is a file or the name of a shipped",
            "config, such as coco/faster_rcnn_R_50_FPN_1x_ffc.yaml.",
            "",
            "exit codes:",
            "  0         finished",
            "  1         a bug, with its traceback; the data have errors (check-data); files were skipped",
            "  2         wrong input: a config, an argument, data or weights",
            "  3         a training stopped by itself: a full disk, or numbers that are not finite",
            "  130, 143  Ctrl-C, SIGTERM; a training writes a checkpoint first",
        ]
    )


def help_of(name: str) -> str:
    command = COMMANDS[name]
    details = f"\n{command.details}\n" if command.details else ""
    lists = command.takes_config and not command.module
    more = f"\n`{PROGRAM} {name} CONFIG --help` lists every argument.\n" if lists else ""
    summary = command.summary[0].upper() + command.summary[1:]
    usage, example = f"{PROGRAM} {name} {command.usage}", f"{PROGRAM} {command.example}"
    return f"usage: {usage}\n\n{summary}.\n{details}{more}\nexample:\n  {example}"


def main(argv: list[str] | None = None) -> None:
    """Run a command line. Returns, or ends by SystemExit with an exit code of :mod:`ffc_dense.errors`."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        raise SystemExit(0 if argv else 2)
    name, args = argv[0], argv[1:]
    if name in ("-V", "--version"):
        from .. import __version__

        print(f"{PROGRAM} {__version__}")
        return
    with reporting(PROGRAM):
        if name not in COMMANDS:
            near = get_close_matches(name, COMMANDS, 1)
            raise UserError(f"{name}: no such command{f'; did you mean {near[0]}?' if near else f'; see {PROGRAM} -h'}")
        command = COMMANDS[name]
        if args[:1] in (["-h"], ["--help"]):
            print(help_of(name), flush=True)
            if command.takes_config:
                return
            print("\nall arguments:\n")
        call = _runner(name, command, args)
    sys.argv[0] = f"{PROGRAM} {name}"  # the name in usage lines and messages, in every process of the job
    call()


def _runner(name: str, command: Command, args: list[str]) -> Callable[[], None]:
    """The call that remains once the arguments that decide the adapter are checked."""
    if not command.takes_config:
        module = _converter(args) or command.module
        return lambda: run(module, args)
    if not args or args[0].startswith("-"):
        raise UserError(f"the config comes first: {PROGRAM} {name} {command.usage}")
    config = str(config_path(args[0]))
    framework, kind = recognise(config)
    need(framework)
    without_noise()
    commands = importlib.import_module(f"{framework.adapter}.commands")
    if command.module:
        return lambda: run(command.module, [config, *args[1:]])
    script, argv = commands.script_of(name, config, kind, args[1:])
    return lambda: run(script, argv)


def _converter(args: list[str]) -> str:
    """The module that --backbone asks for. The option is removed from ``args``."""
    if "--backbone" not in args:
        return ""
    place = args.index("--backbone")
    values = {"torchvision": DETECTRON2, "toolbox": MMSEG}  # the framework whose names the weights get
    value = (args[place + 1 : place + 2] or [""])[0]
    if value not in values:
        raise UserError(f"--backbone: expected {' or '.join(values)}, got {value!r}")
    del args[place : place + 2]
    return f"{values[value].adapter}.commands.convert_{value}_resnet"


def need(framework: Framework) -> None:
    """Check that the framework of the config is installed.

    Raises:
        UserError: it is not installed; the message says how to install it.
    """
    if importlib.util.find_spec(framework.package) is None:
        raise UserError(f"{framework.title} is not installed: {framework.install}")


if __name__ == "__main__":
    main()
