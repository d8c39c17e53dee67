"""Train and evaluate Faster R-CNN, PSPNet and ResNet-18, stock and FFC, on the mini dataset, on the CPU.

    make demo                                       # in the clone: builds the environment first
    python tools/demo.py [--work-dir work_dirs/demo]

Works in the current folder: the datasets go to ``data``, the runs to ``work_dirs/demo``. Each stage runs two processes
side by side. The trainings and the tests of the stock models are the frameworks' own. FFC is scored in its test modes
in one pass. A finished stage is not run again; an interrupted training resumes from its last checkpoint. It ends with a
table, pictures and report.html.
"""

import argparse
import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ..errors import UserError
from ..errors.reporting import reporting
from ..frameworks import DETECTRON2, MMPRETRAIN, MMSEG, Framework
from ..paper import compare, read_runs
from ..paper.markdown import scores
from .demo_jobs import DemoJob, demo_job, environment, run
from .shipped_configs import config_path

DETECTOR = "mini_coco/faster_rcnn_R_18_FPN_ffc.yaml"
SEGMENTOR = "mini_cityscapes/pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
CLASSIFIER = "mini_imagenet/resnet18-ffc_1xb32-504_mini-imagenet-64x64.py"
REDUCTIONS = "vote,mean"
USED = (DETECTRON2, MMSEG, MMPRETRAIN)


def ours(module: str, *arguments: str | Path) -> list[str]:
    """The command line of one of this package's commands."""
    return [sys.executable, "-c", f"from {module} import command; command()", *map(str, arguments)]


def own(framework: Framework, script: str, *arguments: str | Path) -> list[str]:
    """The command line of the train.py or test.py in the wheel of a framework on mmengine."""
    folder = Path(importlib.util.find_spec(framework.package).submodule_search_locations[0]) / ".mim/tools"
    return [sys.executable, str(folder / script), *map(str, arguments)]


def detection_jobs(work: Path, iterations: int) -> tuple[list[DemoJob], list[DemoJob]]:
    """Training and evaluation of Faster R-CNN as ``tools/train_net.py`` runs them."""
    stock, ffc = work / "faster_rcnn", work / "faster_rcnn_ffc"
    configs = {stock: stock_of(DETECTOR), ffc: config_path(DETECTOR)}
    module = "ffc_dense.detection.commands.train"
    checkpoint = "model_final.pth"

    def train(name, folder):
        options = ["--resume", "OUTPUT_DIR", folder, "SOLVER.MAX_ITER", str(iterations)]
        options += ["DATASETS.TEST", "()"]  # evaluated below, in every test mode
        command = ours(module, "--config-file", configs[folder], *options)
        return demo_job(name, folder, command, "metrics.json", iterations)

    def evaluate(name, folder, command, *options):
        out = folder / "eval"
        return demo_job(name, out, [*ours(command, "--config-file", configs[folder]), *map(str, options)])

    tested = ["--eval-only", "OUTPUT_DIR", stock / "eval", "MODEL.WEIGHTS", stock / checkpoint]
    scored = ["--reduce", REDUCTIONS, "--output", ffc / "eval", "MODEL.WEIGHTS", ffc / checkpoint]
    return [train("Faster R-CNN", stock), train("Faster R-CNN FFC", ffc)], [
        evaluate("Faster R-CNN, test", stock, module, *tested),
        evaluate("Faster R-CNN FFC, vote and mean", ffc, "ffc_dense.detection.commands.evaluate", *scored),
    ]


def mmengine_jobs(
    framework: Framework, name: str, ffc_config: str, stock: Path, iterations: int, *options: str
) -> tuple[list[DemoJob], list[DemoJob]]:
    """Training of a stock and an FFC model by the framework's own ``train.py``, and their evaluation.

    The stock model is tested by the framework's ``test.py``, FFC in its test modes in one pass, with ``options``.
    """
    ffc = stock.with_name(stock.name + "_ffc")
    configs = {stock: stock_of(ffc_config), ffc: config_path(ffc_config)}

    def train(name, folder):
        keys = [f"train_cfg.max_iters={iterations}", f"param_scheduler.0.end={iterations}"]
        arguments = [configs[folder], "--work-dir", folder, "--resume", "--cfg-options", *keys]
        return demo_job(name, folder, own(framework, "train.py", *arguments), "*/vis_data/scalars.json", iterations)

    def evaluate(name, folder, command):
        arguments = [str(configs[folder]), str(folder / f"iter_{iterations}.pth"), "--work-dir", str(folder / "eval")]
        return demo_job(name, folder / "eval", command + arguments)

    scored = [*ours(f"{framework.adapter}.commands.evaluate"), "--reduce", REDUCTIONS, *options]
    return [train(name, stock), train(f"{name} FFC", ffc)], [
        evaluate(f"{name}, test", stock, own(framework, "test.py")),
        evaluate(f"{name} FFC, vote and mean", ffc, scored),
    ]


def looking_jobs(detector: Path, segmentor: Path, classifier: Path) -> list[DemoJob]:
    """What each output of the FFC models decides, and their predictions as pictures, beside those of stock.

    Args:
        detector, segmentor, classifier: their checkpoints, each in its run's folder.
    """
    found = []
    for name, config, checkpoint in (
        ("Faster R-CNN FFC", config_path(DETECTOR), detector),
        ("PSPNet FFC", config_path(SEGMENTOR), segmentor),
        ("ResNet-18 FFC", config_path(CLASSIFIER), classifier),
    ):
        out = checkpoint.parent / f"analysis_{checkpoint.stem}"
        command = ours("ffc_dense.cli.analyze", config, checkpoint, "--output", out)
        found.append(demo_job(f"{name}, analysis", out, command))
    work = detector.parent.parent
    out, images = work / "pictures_detection", some_images("data/mini_coco/val2017")
    options = ["--config-file", config_path(DETECTOR), "--weights", detector, "--opinions", "--input", *images]
    options += compared(DETECTOR, detector)
    command = ours("ffc_dense.detection.commands.predict", *options, "--output", out, "--opts", "MODEL.DEVICE", "cpu")
    found.append(demo_job("Faster R-CNN FFC, pictures", out, command))
    out, images = work / "pictures_segmentation", some_images("data/mini_cityscapes/leftImg8bit/val")
    options = [config_path(SEGMENTOR), segmentor, "--input", *images, "--output", out, "--device", "cpu"]
    options += compared(SEGMENTOR, segmentor)
    found.append(demo_job("PSPNet FFC, pictures", out, ours("ffc_dense.segmentation.commands.predict", *options)))
    out, images = work / "pictures_classification", some_images("data/mini_imagenet/val")
    options = [config_path(CLASSIFIER), classifier, "--input", *images, "--output", out, "--device", "cpu"]
    options += compared(CLASSIFIER, classifier)
    found.append(demo_job("ResNet-18 FFC, pictures", out, ours("ffc_dense.classification.commands.predict", *options)))
    return found


def stock_of(config: str) -> Path:
    """The baseline config of an FFC config."""
    return config_path(config.replace("-ffc_", "_").replace("_ffc.", "."))


def compared(config: str, checkpoint: Path) -> list[str | Path]:
    """The option that draws the baseline beside the FFC model of ``checkpoint``."""
    stock = checkpoint.parent.with_name(checkpoint.parent.name.removesuffix("_ffc")) / checkpoint.name
    return ["--stock", stock_of(config), stock]


def some_images(folder: str) -> list[Path]:
    """Four of all images below a folder, at equal distances."""
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix in (".jpg", ".png", ".JPEG"))
    return [found[i * len(found) // 4] for i in range(4)]


def table(runs: list[Path]) -> str:
    """The scores of stock and FFC, a table for each framework."""
    comparisons = [each for each in compare(read_runs(runs)) if each.runs]
    groups = ([each for each in comparisons if each.framework == row] for row in USED)
    return "\n\n".join(scores(group) for group in groups)


def check_frameworks() -> None:
    for framework in USED:
        if importlib.util.find_spec(framework.package) is None:
            raise UserError(f"{framework.title} is not installed: {framework.install}")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"), help="default: %(default)s")
    parser.add_argument("--detection-iterations", type=int, default=280, metavar="N", help="default: %(default)s")
    parser.add_argument("--segmentation-iterations", type=int, default=400, metavar="N", help="default: %(default)s")
    parser.add_argument("--classification-iterations", type=int, default=504, metavar="N", help="default: %(default)s")
    for name in ("--num-train", "--num-val"):
        parser.add_argument(name, type=int, metavar="N", help="images of each mini dataset, as of ffc-dense minidata")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    check_frameworks()
    begin = time.time()
    work = args.work_dir.resolve()
    work.mkdir(parents=True, exist_ok=True)
    lock = open(work / ".lock", "w")  # held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another demo runs in {args.work_dir}; wait for it, or give --work-dir another folder"
        ) from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which stops the trainings too

    print("== mini dataset", flush=True)
    counts = {"--num-train": args.num_train, "--num-val": args.num_val}
    given = [str(part) for pair in counts.items() if pair[1] is not None for part in pair]
    subprocess.run([sys.executable, "-m", "ffc_dense.minidata", "all", "--root", "data", *given], check=True)
    names = ("faster_rcnn", "pspnet", "resnet18")
    detection, evaluate_detection = detection_jobs(work, args.detection_iterations)
    segmentation, evaluate_segmentation = mmengine_jobs(
        MMSEG, "PSPNet", SEGMENTOR, work / names[1], args.segmentation_iterations, "--no-png"
    )
    classification, evaluate_classification = mmengine_jobs(
        MMPRETRAIN, "ResNet-18", CLASSIFIER, work / names[2], args.classification_iterations
    )
    title = "training Faster R-CNN (detectron2), PSPNet (mmseg) and ResNet-18 (mmpretrain), stock and FFC"
    run(title, detection + segmentation + classification)
    looking = looking_jobs(
        work / "faster_rcnn_ffc/model_final.pth",
        work / f"pspnet_ffc/iter_{args.segmentation_iterations}.pth",
        work / f"resnet18_ffc/iter_{args.classification_iterations}.pth",
    )
    evaluating = evaluate_detection + evaluate_segmentation + evaluate_classification
    run("evaluating, and analysing the outputs of FFC", evaluating + looking)
    print("\n== results", flush=True)
    runs = [work / (name + end) for name in names for end in ("", "_ffc")]
    print(table(runs), flush=True)
    pictures = [os.path.relpath(work / f"pictures_{kind}") for kind in ("detection", "segmentation", "classification")]
    page = ours("ffc_dense.cli.report", *runs, "--output", work / "report.html", "--pictures", *pictures)
    subprocess.run(page, env={**os.environ, **environment()}, check=True)
    print(f"pictures: {', '.join(pictures)}")
    print(f"\ndemo: done in {(time.time() - begin) / 60:.1f} minutes; run it again to keep finished stages.")
    print("One seed of a short run on small data: no evidence for or against FFC.")


def command(argv: list[str] | None = None) -> None:
    with reporting("demo", debug=False):
        try:
            main(argv)
        except KeyboardInterrupt:
            print("\ndemo: run it again to resume from the last checkpoints", file=sys.stderr)
            raise
