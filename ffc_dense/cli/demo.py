"""Train and evaluate Faster R-CNN and PSPNet, stock and FFC, on the mini dataset, on the CPU.

    make demo                                       # in the clone: builds the environment first
    python tools/demo.py [--work-dir work_dirs/demo]

Works in the current folder: the datasets go to ``data``, the runs to ``work_dirs/demo``. Each stage runs command lines
as two processes side by side; training and testing are the frameworks' own. A finished stage is not run again, an
interrupted training resumes from its last checkpoint. It ends with a table, pictures and report.html.
"""

import argparse
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..frameworks import DETECTRON2, MMSEG
from ..paper import compare, read_runs
from ..paper.markdown import scores
from ..reliability import jobs
from ..reliability.jobs import Job
from . import shipped_configs
from .shipped_configs import config_path

SIDE_BY_SIDE = 2
DETECTOR = "mini_coco/faster_rcnn_R_18_FPN_ffc.yaml"
SEGMENTOR = "mini_cityscapes/pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"


@dataclass(eq=False)
class DemoJob(Job):
    """A job that tells how far it is.

    Args:
        progress: pattern, below the folder, of the framework's JSON lines that hold the iteration.
        iterations: their number at the end.
    """

    progress: str = ""
    iterations: int = 0
    first: tuple[int, float] | None = None  # the first iteration seen in this run, and when

    def iteration(self) -> int:
        """The last iteration that the framework logged; 0 before the first."""
        for path in sorted(self.folder.glob(self.progress), reverse=True) if self.progress else ():
            for line in reversed(path.read_text().splitlines()):
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # being written
                    continue
                return entry.get("step", entry.get("iteration", -1) + 1)
        return 0

    def status(self) -> str:
        """Iteration and time left, as far as they are known."""
        now = self.iteration()
        if self.first is None and now:
            self.first = (now, time.time())
        text = f"{self.name} {now}/{self.iterations}" if self.iterations else self.name
        if self.first and now > self.first[0]:
            seconds = (self.iterations - now) * (time.time() - self.first[1]) / (now - self.first[0])
            text += f" (about {seconds / 60:.1f} min left)"
        return text


def demo_job(name: str, folder: Path, command: list[str], progress: str = "", iterations: int = 0) -> DemoJob:
    """A job that is done until its command, this package, its configs or torch change."""
    key = hashlib.sha256((json.dumps(command) + code_digest()).encode()).hexdigest()
    log, marker = folder.with_name(folder.name + ".log"), folder.with_name(folder.name + ".done")
    return DemoJob(name, command, folder, key, log, environment(), marker, None, progress, iterations)


@cache
def code_digest() -> str:
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    for place, pattern in ((shipped_configs.PACKAGE, "**/*.py"), (shipped_configs.folder(), "**/*")):
        for path in sorted(place.glob(pattern)):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """For the demo's processes: CPU only, the demo's data, whatever the user's own settings are."""
    cores = min(4, len(os.sched_getaffinity(0)))  # more than 4 are not filled by small models
    threads = max(1, cores // SIDE_BY_SIDE)
    return dict(CUDA_VISIBLE_DEVICES="", DETECTRON2_DATASETS=str(Path("data").resolve()), PYTHONWARNINGS="ignore",
                OMP_NUM_THREADS=str(threads))  # fmt: skip


def run(title: str, stage: list[DemoJob]) -> None:
    """Run the unfinished jobs of a stage, two at a time, with a line of progress now and then."""
    print(f"\n== {title}", flush=True)
    for job in stage:
        if job.is_done():
            print(f"  {job.name}: done already")
    begin = shown = time.time()

    def started(job: Job) -> None:
        print(f"  {job.name}: started, log in {os.path.relpath(job.log)}", flush=True)

    def ended(job: Job, left: int) -> None:
        if job.process.returncode != 0:
            tail = "\n".join(job.log.read_text(errors="replace").splitlines()[-15:])
            sys.exit(f"{tail}\n\ndemo: {job.name} failed with exit code {job.process.returncode}, see {job.log}")
        print(f"  {job.name}: finished after {time.time() - begin:.0f} s", flush=True)

    def meanwhile(running: list[Job]) -> None:
        nonlocal shown
        if running and time.time() - shown > 15:
            shown = time.time()
            print("  " + ", ".join(job.status() for job in running), flush=True)

    todo = [job for job in stage if not job.is_done()]
    jobs.run(todo, SIDE_BY_SIDE, Path.cwd(), started=started, ended=ended, meanwhile=meanwhile)


def ours(module: str, *arguments: str | Path) -> list[str]:
    """The command line of one of this package's commands."""
    return [sys.executable, "-c", f"from {module} import command; command()", *map(str, arguments)]


def mmseg_s(script: str, *arguments: str | Path) -> list[str]:
    """That of mmseg's own train.py or test.py, as its wheel installs them."""
    folder = Path(importlib.util.find_spec("mmseg").submodule_search_locations[0]) / ".mim/tools"
    return [sys.executable, str(folder / script), *map(str, arguments)]


def detection_jobs(work: Path, iterations: int) -> tuple[list[DemoJob], list[DemoJob]]:
    """Training and evaluation of Faster R-CNN as ``tools/train_net.py`` runs them."""
    stock, ffc = work / "faster_rcnn", work / "faster_rcnn_ffc"
    configs = {stock: config_path("mini_coco/faster_rcnn_R_18_FPN.yaml"), ffc: config_path(DETECTOR)}
    module = "ffc_dense.detection.commands.train"

    def train(name, folder):
        options = ["--resume", "OUTPUT_DIR", folder, "SOLVER.MAX_ITER", str(iterations)]
        options += ["DATASETS.TEST", "()"]  # evaluated below, under every reduction
        command = ours(module, "--config-file", configs[folder], *options)
        return demo_job(name, folder, command, "metrics.json", iterations)

    def evaluate(name, folder, reduce):
        options = ["OUTPUT_DIR", folder / f"eval_{reduce}", "MODEL.WEIGHTS", folder / "model_final.pth"]
        if folder == ffc:
            options += ["MODEL.ROI_BOX_HEAD.FFC.TEST_REDUCE", reduce]
        command = ours(module, "--config-file", configs[folder], "--eval-only", *options)
        return demo_job(name, folder / f"eval_{reduce}", command)

    return [train("Faster R-CNN", stock), train("Faster R-CNN FFC", ffc)], [
        evaluate("Faster R-CNN", stock, "stock"),
        evaluate("Faster R-CNN FFC, vote", ffc, "vote"),
        evaluate("Faster R-CNN FFC, mean", ffc, "mean"),
    ]


def segmentation_jobs(work: Path, iterations: int) -> tuple[list[DemoJob], list[DemoJob]]:
    """Training and evaluation of PSPNet by mmseg's own ``train.py`` and ``test.py``."""
    stock, ffc = work / "pspnet", work / "pspnet_ffc"
    configs = {
        stock: config_path("mini_cityscapes/pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128.py"),
        ffc: config_path(SEGMENTOR),
    }

    def train(name, folder):
        options = [f"train_cfg.max_iters={iterations}", f"param_scheduler.0.end={iterations}"]
        command = mmseg_s("train.py", configs[folder], "--work-dir", folder, "--resume", "--cfg-options", *options)
        return demo_job(name, folder, command, "*/vis_data/scalars.json", iterations)

    def evaluate(name, folder, reduce):
        checkpoint, out = folder / f"iter_{iterations}.pth", folder / f"eval_{reduce}"
        options = ["--cfg-options", f"model.decode_head.test_reduce={reduce}"] if folder == ffc else []
        return demo_job(name, out, mmseg_s("test.py", configs[folder], checkpoint, "--work-dir", out, *options))

    return [train("PSPNet", stock), train("PSPNet FFC", ffc)], [
        evaluate("PSPNet", stock, "stock"),
        evaluate("PSPNet FFC, vote", ffc, "vote"),
        evaluate("PSPNet FFC, mean", ffc, "mean"),
    ]


def looking_jobs(work: Path, iterations: int) -> list[DemoJob]:
    """What each output of the two FFC runs decides, and their predictions as pictures."""
    detector, segmentor = work / "faster_rcnn_ffc/model_final.pth", work / f"pspnet_ffc/iter_{iterations}.pth"
    found = []
    for name, config, checkpoint in (
        ("Faster R-CNN FFC", config_path(DETECTOR), detector),
        ("PSPNet FFC", config_path(SEGMENTOR), segmentor),
    ):
        out = checkpoint.parent / f"analysis_{checkpoint.stem}"
        command = ours("ffc_dense.cli.analyze", config, checkpoint, "--output", out)
        found.append(demo_job(f"{name}, analysis", out, command))
    out, images = work / "pictures_detection", first_images("data/mini_coco/val2017")
    options = ["--config-file", config_path(DETECTOR), "--weights", detector, "--opinions", "--input", *images]
    command = ours("ffc_dense.detection.commands.predict", *options, "--output", out, "--opts", "MODEL.DEVICE", "cpu")
    found.append(demo_job("Faster R-CNN FFC, pictures", out, command))
    out, images = work / "pictures_segmentation", first_images("data/mini_cityscapes/leftImg8bit/val")
    options = [config_path(SEGMENTOR), segmentor, "--maps", "--input", *images, "--output", out, "--device", "cpu"]
    found.append(demo_job("PSPNet FFC, pictures", out, ours("ffc_dense.segmentation.commands.predict", *options)))
    return found


def first_images(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.suffix in (".jpg", ".png"))[:4]


def table(runs: list[Path]) -> str:
    """The scores of stock and FFC, a table for each framework."""
    comparisons = [each for each in compare(read_runs(runs)) if each.runs]
    groups = ([each for each in comparisons if each.framework == row] for row in (DETECTRON2, MMSEG))
    return "\n\n".join(scores(group) for group in groups)


def check_frameworks() -> None:
    for framework in (DETECTRON2, MMSEG):
        if importlib.util.find_spec(framework.package) is None:
            sys.exit(f"demo: {framework.title} is not installed: {framework.install}")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"), help="default: %(default)s")
    parser.add_argument("--detection-iterations", type=int, default=280, metavar="N", help="default: %(default)s")
    parser.add_argument("--segmentation-iterations", type=int, default=400, metavar="N", help="default: %(default)s")
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
        sys.exit(f"demo: another demo runs in {args.work_dir}; wait for it, or give --work-dir another folder")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the trainings are stopped too

    print("== mini dataset", flush=True)
    subprocess.run([sys.executable, "-m", "ffc_dense.minidata", "all", "--root", "data"], check=True)
    train_detection, evaluate_detection = detection_jobs(work, args.detection_iterations)
    train_segmentation, evaluate_segmentation = segmentation_jobs(work, args.segmentation_iterations)
    run("training Faster R-CNN (detectron2), stock and FFC", train_detection)
    run("training PSPNet (mmseg), stock and FFC", train_segmentation)
    run("evaluating; FFC twice from one checkpoint", evaluate_detection + evaluate_segmentation)
    run("looking at the outputs of FFC", looking_jobs(work, args.segmentation_iterations))
    print("\n== results", flush=True)
    runs = [work / name for name in ("faster_rcnn", "faster_rcnn_ffc", "pspnet", "pspnet_ffc")]
    print(table(runs), flush=True)
    page = ours("ffc_dense.cli.report", *runs, "--output", work / "report.html")
    subprocess.run(page, env={**os.environ, **environment()}, check=True)
    pictures = [os.path.relpath(work / f"pictures_{kind}") for kind in ("detection", "segmentation")]
    print(f"pictures: {', '.join(pictures)}")
    print(f"\ndemo: done in {(time.time() - begin) / 60:.1f} minutes; started again, it keeps what is done.")
    print("One seed of a short run on small data: no evidence for or against FFC.")


def command(argv: list[str] | None = None) -> None:
    try:
        main(argv)
    except KeyboardInterrupt:
        sys.exit("\ndemo: interrupted; started again, it resumes from the last checkpoints")
