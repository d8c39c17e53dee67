#!/usr/bin/env python
"""Train, test, FLOPs, inference and export of both frameworks, each in a process of its own, with either one absent.

    python tests/matrix/run.py                                # the interpreter that runs this file
    python tests/matrix/run.py --python /path/to/venv/bin/python [--only 'core only'] [--only 'test']

Tiny trainings on a mini dataset of a few images, on the CPU. The package is taken from this clone. A framework that is
absent, blocked by ``absent/sitecustomize.py`` or not installed, is *refused* by its tools: exit code 2, no traceback,
and the last line of stderr says what to ``pip install``.
Exit code: 0 if every cell is as expected, 1 if not, 2 for wrong arguments.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOOLS = ROOT / "tools"
RCNN = ROOT / "configs" / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
PSP = ROOT / "configs" / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
PACKAGES = {"detectron2": ["detectron2", "fvcore"], "mmseg": ["mmseg", "mmengine", "mmcv"]}
ENVIRONMENTS = {
    "both frameworks": [],
    "detectron2 absent": ["detectron2"],
    "mmseg absent": ["mmseg"],
    "core only": ["detectron2", "mmseg"],
}
CHECKPOINTS = {"detectron2": "rcnn/model_final.pth", "mmseg": "psp/iter_2.pth"}
LIMIT = 600  # seconds for a process
CORE_TESTS = [f"tests/method/test_{name}.py" for name in ("filtering", "layers", "voting")]


@dataclass(frozen=True)
class Job:
    framework: str  # '' for the core
    name: str
    command: list  # after the interpreter


def jobs(folder: Path, images: dict[str, Path]) -> list[Job]:
    """In the order in which they need each other's files, which lie in ``folder``."""
    model, iteration = (folder / name for name in CHECKPOINTS.values())
    rcnn, psp = model.parent, iteration.parent
    detection = [TOOLS / "train_net.py", "--config-file", RCNN, "OUTPUT_DIR", rcnn, "MODEL.DEVICE", "cpu"]
    few = ["SOLVER.MAX_ITER", 2, "SOLVER.STEPS", "(100,)", "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0]
    segmentation = [TOOLS / "mmseg_tool.py", "--device", "cpu"]
    psp_few = ["train_cfg.max_iters=2", "train_cfg.val_interval=1000", "train_dataloader.batch_size=2"]
    return [
        Job("", "core", [HERE / "core.py"]),
        Job("", "core's tests", ["-m", "pytest", "-q", "-p", "no:cacheprovider", *CORE_TESTS]),
        Job("detectron2", "train", [*detection, *few, "DATASETS.TEST", "()"]),
        Job("detectron2", "test", [*detection[:3], "--eval-only", *detection[3:], "MODEL.WEIGHTS", model]),
        Job("detectron2", "FLOPs", [TOOLS / "overhead.py", "--only", f"mini_coco/{RCNN.name}"]),
        Job("detectron2", "inference",
            [TOOLS / "demo_detect.py", "--config-file", RCNN, "--weights", model, "--input", images["detectron2"],
             "--output", folder / "detected", "--opts", "MODEL.DEVICE", "cpu"]),
        Job("detectron2", "export",
            [TOOLS / "export_model.py", RCNN, model, "--format", "onnx", "--output", folder / "detector.onnx"]),
        Job("mmseg", "train",
            [*segmentation, "train", PSP, "--work-dir", psp, "--cfg-options", *psp_few,
             "default_hooks.checkpoint.interval=2"]),
        Job("mmseg", "test", [*segmentation, "test", PSP, iteration, "--work-dir", psp]),
        Job("mmseg", "FLOPs", [TOOLS / "overhead.py", "--only", f"mini_cityscapes/{PSP.name}"]),
        Job("mmseg", "inference",
            [TOOLS / "demo_segment.py", PSP, iteration, "--input", images["mmseg"], "--output", folder / "segmented"]),
        Job("mmseg", "export",
            [TOOLS / "export_model.py", PSP, iteration, "--format", "onnx", "--output", folder / "segmentor.onnx"]),
    ]  # fmt: skip


def environment(absent: list[str], data: Path) -> dict[str, str]:
    names = [package for framework in absent for package in PACKAGES[framework]]
    path = [str(HERE / "absent"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    more = dict(ABSENT_PACKAGES=" ".join(names), PYTHONPATH=os.pathsep.join(path), DETECTRON2_DATASETS=str(data))
    return {**os.environ, **more, "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}


def verdict(job: Job, absent: bool, done: subprocess.CompletedProcess | None) -> str:
    """'ok', 'refused' (as it should be) or 'FAILED'."""
    if done is None:
        return "FAILED"
    if not absent:
        return "ok" if done.returncode == 0 else "FAILED"
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return "refused" if done.returncode == 2 and "Traceback" not in done.stderr and "pip install" in last else "FAILED"


def run(job: Job, python: str, absent: list[str], data: Path, log: Path) -> tuple[str, str, float]:
    """Verdict, exit code and seconds; what the process said is in ``log``."""
    start = time.monotonic()
    command = [python, *map(str, job.command)]
    # the mini configs of mmseg look for data/ in the working directory; pytest wants the clone
    where = ROOT if "pytest" in job.command else data.parent
    try:
        done = subprocess.run(
            command, cwd=where, env=environment(absent, data), capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        done = None
    seconds = time.monotonic() - start
    output = f"more than {LIMIT} s" if done is None else f"{done.stdout}\n--- stderr ---\n{done.stderr}"
    log.write_text(f"{' '.join(command)}\n{output}")
    return verdict(job, job.framework in absent, done), "-" if done is None else str(done.returncode), seconds


def installed(python: str) -> dict[str, bool]:
    """Which of the frameworks the interpreter has."""
    code = "import importlib.util as u; print(*(u.find_spec(n) is not None for n in ('detectron2', 'mmseg')))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {name: answer == "True" for name, answer in zip(PACKAGES, found, strict=True)}


def make_data(python: str, folder: Path) -> dict[str, Path]:
    """The mini datasets in ``folder``, and an image of each."""
    command = [python, "-m", "ffc_dense.minidata", "all", "--root", str(folder), "--num-train", "4", "--num-val", "2"]
    subprocess.run(command, env=environment([], folder), check=True, capture_output=True)
    return {
        "detectron2": next(folder.glob("mini_coco/**/*.jpg")),
        "mmseg": next(folder.glob("mini_cityscapes/leftImg8bit/val/**/*.png")),
    }


def absences(blocked: list[str], present: dict[str, bool]) -> list[str]:
    """What is absent when ``blocked`` is: another row of the table may be the same environment."""
    return [name for name in PACKAGES if name in blocked or not present[name]]


def make_folder(folder: Path, absent: list[str]) -> Path:
    for name, checkpoint in CHECKPOINTS.items():
        (folder / checkpoint).parent.mkdir(parents=True)
        if name in absent:  # nothing trains one; the tools are to get as far as the framework
            (folder / checkpoint).touch()
    return folder


def chosen(label: str, job: Job, words: list[str]) -> bool:
    if job.name == "core's tests" and label != "core only":
        return False
    return all(word in f"{label} {job.framework} {job.name}" for word in words)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="the interpreter to test")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="rows that contain it; may be repeated: all of them"
    )
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep what the processes said here")
    args = parser.parse_args()
    if not Path(args.python).is_file():
        parser.error(f"argument --python: there is no file {args.python}")
    present = installed(args.python)
    print(subprocess.run([args.python, "-VV"], capture_output=True, text=True).stdout.strip())
    print("installed:", ", ".join(name for name, there in present.items() if there) or "neither framework")
    print(f"{'environment':18} {'framework':11} {'step':13} {'result':8} exit {'s':>6}", flush=True)
    rows = {label: blocked for label, blocked in ENVIRONMENTS.items() if blocked == absences(blocked, present)}
    bad = 0
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        images = dict.fromkeys(PACKAGES, data)
        logs = args.logs or Path(temporary) / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        cells = []
        for label, absent in rows.items():
            folder = make_folder(Path(temporary) / label.replace(" ", "_"), absent)
            found = [job for job in jobs(folder, images) if chosen(label, job, args.only)]
            if not data.exists() and any(job.framework and job.framework not in absent for job in found):
                images.update(make_data(args.python, data))
                found = [job for job in jobs(folder, images) if chosen(label, job, args.only)]
            cells += [(label, absent, job) for job in found]
        for label, absent, job in cells:
            log = logs / f"{label} {job.framework} {job.name}.txt".replace(" ", "_")
            result, code, seconds = run(job, args.python, absent, data, log)
            bad += result == "FAILED"
            row = f"{label:18} {job.framework or '-':11} {job.name:13} {result:8} {code:>4} {seconds:6.1f}"
            print(row, flush=True)
            if result == "FAILED" and not args.logs:
                print("    " + "\n    ".join(log.read_text().strip().splitlines()[-4:]), flush=True)
    if not cells:
        parser.error(f"argument --only: no row contains {' and '.join(args.only)}")
    print(f"{bad} failed")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
