"""``make evidence``: train every run of the plan that is not done, two at a time, and write the report.

    python -m evidence [--work-dir DIR] [--only TEXT] [--list]

A run that is done is not made again; an interrupted one goes on from its last checkpoint.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import folders
from .plan import PLAN, Run

PROCESSES = max(1, min(2, len(os.sched_getaffinity(0))))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__.splitlines()[0])
    parser.add_argument("--work-dir", type=Path, default=folders.ROOT / "work_dirs/evidence")
    parser.add_argument("--only", default="", metavar="TEXT", help="the runs whose name contains it: detection/ffc/")
    parser.add_argument("--list", action="store_true", help="show the runs and which are done, and stop")
    args = parser.parse_args(argv)
    work = args.work_dir.resolve()
    runs = [run for run in PLAN if args.only in run.name]
    if not runs:
        parser.error(f"--only {args.only}: no run of the plan has it in its name, see --list")
    waiting = [run for run in runs if folders.scores(work, run) is None]
    if args.list:
        for run in runs:
            print("     " if run in waiting else "done ", run.name)
        return
    print(f"{len(runs)} runs, {len(waiting)} to make; each in a folder of {work}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the trainings too, see make()
    work.mkdir(parents=True, exist_ok=True)
    with open(work / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"evidence: another process works in {work}; wait for it or choose another --work-dir")
        make_data(work)
        make(work, waiting)


def make_data(work: Path) -> None:
    counts = ["--num-train", str(folders.TRAIN_IMAGES), "--num-val", str(folders.TEST_IMAGES + folders.HELD_OUT_IMAGES)]
    command = [sys.executable, "-m", "ffc_dense.minidata", "all", "--root", str(folders.data(work)), *counts]
    subprocess.run(command, cwd=folders.ROOT, check=True)


def make(work: Path, waiting: list[Run]) -> None:
    """Run the trainings, one thread each."""
    running: dict[Run, subprocess.Popen] = {}
    done, total, begin = 0, len(waiting), time.time()
    try:
        while waiting or running:
            while waiting and len(running) < PROCESSES:
                run = waiting.pop(0)
                running[run] = start(work, run)
            time.sleep(0.5)
            for run, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[run]
                if process.returncode:
                    sys.exit(f"{run.name} failed with exit code {process.returncode}, see {log(work, run)}")
                done += 1
                left = (time.time() - begin) / done * (total - done) / 60
                print(f"  {done}/{total} {run.name} (about {left:.0f} min left)", flush=True)
    finally:
        for process in running.values():
            process.terminate()
            process.wait()


def log(work: Path, run: Run) -> Path:
    return folders.folder(work, run) / "log.txt"


def start(work: Path, run: Run) -> subprocess.Popen:
    framework = "detection" if run.task == "detection" else "segmentation"
    arguments = [str(work), run.task, run.head, str(run.iterations), str(run.seed)]
    folders.folder(work, run).mkdir(parents=True, exist_ok=True)
    environment = dict(
        os.environ, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore",
        DETECTRON2_DATASETS=str(folders.data(work)),
    )  # fmt: skip
    with open(log(work, run), "ab") as file:
        command = [sys.executable, "-m", f"evidence.train_{framework}", *arguments]
        return subprocess.Popen(command, cwd=folders.ROOT, env=environment, stdout=file, stderr=file)


if __name__ == "__main__":
    main()
