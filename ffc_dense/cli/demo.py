"""``make demo``: train and evaluate Faster R-CNN and PSPNet, stock and FFC, on the mini dataset, on the CPU.

Each stage runs command lines as two processes side by side; training and testing are the frameworks' own. A finished
stage is not run again, an interrupted training resumes from its last checkpoint. The last one writes report.html.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import mmseg

ROOT = Path(__file__).resolve().parents[2]
DETECTION = ROOT / "configs/mini_coco"
SEGMENTATION = ROOT / "configs/mini_cityscapes"
MMSEG_TOOLS = Path(mmseg.__file__).parent / ".mim/tools"  # mmseg's own train.py and test.py, as its wheel installs them


@dataclass
class Job:
    """One process and the marker that says which command, with which configs, it finished."""

    name: str
    folder: Path
    command: list[str]
    progress: str = ""  # pattern, below the folder, of the framework's JSON lines that hold the iteration
    iterations: int = 0
    process: subprocess.Popen | None = field(default=None, repr=False)
    started_key: str = ""
    first: tuple[int, float] | None = None  # the first iteration seen in this run, and when

    def key(self) -> str:
        digest = hashlib.sha256(json.dumps(self.command).encode())
        for pattern in ("configs/**/*", "ffc_dense/**/*.py", "requirements/*", "tools/train_net.py"):
            for path in sorted(ROOT.glob(pattern)):
                if path.is_file():
                    digest.update(path.read_bytes())
        return digest.hexdigest()

    @property
    def marker(self) -> Path:
        return self.folder.with_name(self.folder.name + ".done")

    def is_done(self) -> bool:
        return self.marker.exists() and self.marker.read_text() == self.key()

    def start(self, threads: int) -> None:
        started = self.folder.with_name(self.folder.name + ".started")
        if started.exists() and started.read_text() != self.key():
            print(f"  {self.name}: the settings changed since the last run, starting over")
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started_key = self.key()
        started.write_text(self.started_key)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=environment(threads), stdout=log, stderr=log)

    @property
    def log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

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
        text = f"{self.name} {now}/{self.iterations}"
        if self.first and now > self.first[0]:
            seconds = (self.iterations - now) * (time.time() - self.first[1]) / (now - self.first[0])
            text += f" (about {seconds / 60:.1f} min left)"
        return text

    def finish(self) -> None:
        if self.process.returncode != 0:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            sys.exit(f"{tail}\n\ndemo: {self.name} failed with exit code {self.process.returncode}, see {self.log}")
        self.marker.write_text(self.started_key)


def environment(threads: int) -> dict[str, str]:
    """For the demo's processes: CPU only, the demo's data, whatever the user's own settings are."""
    ours = dict(CUDA_VISIBLE_DEVICES="", DETECTRON2_DATASETS=str(ROOT / "data"), PYTHONWARNINGS="ignore")
    return {**os.environ, **ours, "OMP_NUM_THREADS": str(threads)}


def cores() -> int:
    """Those that this process may use; no more than 4, which small models do not fill."""
    return min(4, len(os.sched_getaffinity(0)))


def run(title: str, jobs: list[Job]) -> None:
    """Run the unfinished ``jobs``, two at a time, with a line of progress now and then."""
    print(f"\n== {title}", flush=True)
    for job in jobs:
        if job.is_done():
            print(f"  {job.name}: done already")
    waiting = [job for job in jobs if not job.is_done()]
    threads = max(1, cores() // 2)
    running, begin, shown = [], time.time(), time.time()
    try:
        while waiting or running:
            while waiting and len(running) < 2:
                running.append(waiting.pop(0))
                running[-1].start(threads)
                print(f"  {running[-1].name}: started, log in {_short(running[-1].log)}", flush=True)
            time.sleep(0.5)
            for job in [job for job in running if job.process.poll() is not None]:
                job.finish()
                running.remove(job)
                print(f"  {job.name}: finished after {time.time() - begin:.0f} s", flush=True)
            if running and time.time() - shown > 15:
                shown = time.time()
                print("  " + ", ".join(job.status() if job.iterations else job.name for job in running), flush=True)
    finally:
        for job in running:
            job.process.terminate()
            job.process.wait()


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def detection_jobs(work: Path, iterations: int) -> tuple[list[Job], list[Job]]:
    """Training and evaluation of Faster R-CNN by ``tools/train_net.py``."""
    stock, ffc = work / "faster_rcnn", work / "faster_rcnn_ffc"
    command = [sys.executable, str(ROOT / "tools/train_net.py"), "--config-file"]
    configs = {stock: DETECTION / "faster_rcnn_R_18_FPN.yaml", ffc: DETECTION / "faster_rcnn_R_18_FPN_ffc.yaml"}

    def train(name, folder):
        arguments = [str(configs[folder]), "--resume", "OUTPUT_DIR", str(folder), "SOLVER.MAX_ITER", str(iterations)]
        arguments += ["DATASETS.TEST", "()"]  # evaluated below, under every reduction
        return Job(name, folder, command + arguments, "metrics.json", iterations)

    def evaluate(name, folder, reduce):
        arguments = [str(configs[folder]), "--eval-only", "OUTPUT_DIR", str(folder / f"eval_{reduce}")]
        arguments += ["MODEL.WEIGHTS", str(folder / "model_final.pth")]
        if folder == ffc:
            arguments += ["MODEL.ROI_BOX_HEAD.FFC.TEST_REDUCE", reduce]
        return Job(name, folder / f"eval_{reduce}", command + arguments)

    return [train("Faster R-CNN", stock), train("Faster R-CNN FFC", ffc)], [
        evaluate("Faster R-CNN", stock, "stock"),
        evaluate("Faster R-CNN FFC, vote", ffc, "vote"),
        evaluate("Faster R-CNN FFC, mean", ffc, "mean"),
    ]


def segmentation_jobs(work: Path, iterations: int) -> tuple[list[Job], list[Job]]:
    """Training and evaluation of PSPNet by mmseg's own ``train.py`` and ``test.py``."""
    stock, ffc = work / "pspnet", work / "pspnet_ffc"
    configs = {
        stock: SEGMENTATION / "pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128.py",
        ffc: SEGMENTATION / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py",
    }

    def train(name, folder):
        arguments = ["train.py", str(configs[folder]), "--work-dir", str(folder), "--resume", "--cfg-options"]
        arguments += [f"train_cfg.max_iters={iterations}", f"param_scheduler.0.end={iterations}"]
        return Job(name, folder, _mmseg(arguments), "*/vis_data/scalars.json", iterations)

    def evaluate(name, folder, reduce):
        arguments = ["test.py", str(configs[folder]), str(folder / f"iter_{iterations}.pth")]
        arguments += ["--work-dir", str(folder / f"eval_{reduce}")]
        if folder == ffc:
            arguments += ["--cfg-options", f"model.decode_head.test_reduce={reduce}"]
        return Job(name, folder / f"eval_{reduce}", _mmseg(arguments))

    return [train("PSPNet", stock), train("PSPNet FFC", ffc)], [
        evaluate("PSPNet", stock, "stock"),
        evaluate("PSPNet FFC, vote", ffc, "vote"),
        evaluate("PSPNet FFC, mean", ffc, "mean"),
    ]


def analysis_jobs(work: Path, segmentation_iterations: int) -> list[Job]:
    """What each output of the two FFC runs decides, by ``tools/analyze_outputs.py``."""
    command = [sys.executable, str(ROOT / "tools/analyze_outputs.py")]
    checkpoints = {
        "Faster R-CNN FFC": (DETECTION / "faster_rcnn_R_18_FPN_ffc.yaml", work / "faster_rcnn_ffc/model_final.pth"),
        "PSPNet FFC": (SEGMENTATION / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py",
                       work / f"pspnet_ffc/iter_{segmentation_iterations}.pth"),
    }  # fmt: skip
    jobs = []
    for name, (config, checkpoint) in checkpoints.items():
        folder = checkpoint.parent / f"analysis_{checkpoint.stem}"
        jobs.append(Job(f"{name}, analysis", folder, [*command, str(config), str(checkpoint), "--output", str(folder)]))
    return jobs


def _mmseg(arguments: list[str]) -> list[str]:
    return [sys.executable, str(MMSEG_TOOLS / arguments[0]), *arguments[1:]]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/demo")
    parser.add_argument("--detection-iterations", type=int, default=280)
    parser.add_argument("--segmentation-iterations", type=int, default=400)
    args = parser.parse_args(argv)
    begin = time.time()
    work = args.work_dir.resolve()
    work.mkdir(parents=True, exist_ok=True)
    lock = open(work / ".lock", "w")  # held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"demo: another demo runs in {_short(work)}; wait for it, or give --work-dir another folder")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the trainings are stopped too

    print("== mini dataset")
    make_data = [sys.executable, "-m", "ffc_dense.minidata", "all", "--root", str(ROOT / "data")]
    subprocess.run(make_data, cwd=ROOT, check=True)
    train_detection, evaluate_detection = detection_jobs(work, args.detection_iterations)
    train_segmentation, evaluate_segmentation = segmentation_jobs(work, args.segmentation_iterations)
    run("training Faster R-CNN (detectron2), stock and FFC", train_detection)
    run("training PSPNet (mmseg), stock and FFC", train_segmentation)
    run("evaluating; FFC twice from one checkpoint", evaluate_detection + evaluate_segmentation)
    run("analysing the outputs of FFC", analysis_jobs(work, args.segmentation_iterations))
    print("\n== report", flush=True)
    report = [sys.executable, "-W", "ignore", str(ROOT / "tools/demo_report.py"), str(work)]
    subprocess.run(report, cwd=ROOT, env=environment(cores()), check=True)
    runs = [str(work / name) for name in ("faster_rcnn", "faster_rcnn_ffc", "pspnet", "pspnet_ffc")]
    page = [sys.executable, str(ROOT / "tools/report.py"), *runs, "--output", str(work / "report.html")]
    subprocess.run(page, cwd=ROOT, env=environment(cores()), check=True)
    print(f"\ndemo: done in {(time.time() - begin) / 60:.1f} minutes; started again, it keeps what is done.")
    print("One seed of a short run on small data: no evidence for or against FFC.")


def command(argv: list[str] | None = None) -> None:
    try:
        main(argv)
    except KeyboardInterrupt:
        sys.exit("\ndemo: interrupted; started again, it resumes from the last checkpoints")
