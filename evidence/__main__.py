"""``make evidence``: train every run of the plan that is not done, two at a time, and write the report.

    python -m evidence [--work-dir DIR] [--only TEXT] [--list] [--merge] [--write-docs]
    python -m evidence report [--write-docs]   # tables and pictures alone, from the evidence.json beside them

A run that is done is not made again; an interrupted one goes on from its last checkpoint. The report is
docs/EVIDENCE.md with the tables of these runs, in the work directory, or with ``--write-docs`` in docs.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reporting

from . import folders, plan, record
from .plan import Run

DOCS, RECORD = folders.ROOT / "docs", "evidence.json"
NAME = "evidence_quick" if plan.QUICK else "evidence"  # they have other data
PROCESSES = max(1, min(2, len(os.sched_getaffinity(0))))


@dataclass(frozen=True)
class Job:
    """A process: the training of a run, or the fit of its selectors."""

    run: Run
    module: str

    @property
    def selects(self) -> bool:
        return self.module.endswith("select_outputs")

    @property
    def name(self) -> str:
        return self.run.name + (", selectors" if self.selects else "")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--work-dir", type=Path, default=folders.ROOT / "work_dirs" / NAME)
    parser.add_argument("--only", default="", metavar="TEXT", help="the runs whose name contains it: detection/ffc/")
    parser.add_argument("--list", action="store_true", help="show the runs and which are done, and stop")
    parser.add_argument("--merge", action="store_true", help="take the runs of docs/evidence.json as done")
    parser.add_argument("--write-docs", action="store_true", help="write the report into docs, not the work directory")
    args = parser.parse_args(argv)
    if plan.QUICK and (args.write_docs or args.merge):
        parser.error("EVIDENCE_QUICK=1 measures nothing: no --write-docs, no --merge")
    with reporting("evidence", debug=False):
        execute(args, parser)


def execute(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    work = args.work_dir.resolve()
    target = DOCS if args.write_docs else work
    if args.command == "report":
        report(record.read_record(target / RECORD), target)
        return
    runs = [run for run in plan.PLAN if args.only in run.name]
    if not runs:
        parser.error(f"--only {args.only}: no run of the plan has it in its name, see --list")
    known = record.read_record(DOCS / RECORD) if args.merge else []
    if args.write_docs:
        done = {run for run in plan.PLAN if folders.scores(work, run) is not None}
        kept = {(run, 0) for run in {*runs, *done}} | {result.identity for result in known}
        record.refuse_loss(kept, target / RECORD)
    jobs = unfinished(work, [run for run in runs if (run, 0) not in {result.identity for result in known}])
    if args.list:
        missing = {job.run for job in jobs}
        for run in runs:
            print("     " if run in missing else "done ", run.name)
        return
    print(f"{len(runs)} runs, {len(jobs)} jobs to do; each run in a folder of {work}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the trainings too, see do()
    work.mkdir(parents=True, exist_ok=True)
    with open(work / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process works in {work}; wait for it or choose another --work-dir") from None
        make_data(work)
        do(work, jobs)
    results = record.merged(record.collect(work), known)
    record.write_record(results, target / RECORD)
    report(results, target)


def report(results: list[record.Result], target: Path) -> None:
    from .report import PAGE, write  # matplotlib, which trainings do not need

    write(results, DOCS / PAGE, target)
    print(f"report: {target / PAGE}")


def unfinished(work: Path, runs: list[Run]) -> list[Job]:
    trainings, selections = [], []
    for run in runs:
        done = folders.scores(work, run)
        framework = "detection" if run.task == "detection" else "segmentation"
        if done is None:
            trainings.append(Job(run, f"evidence.train_{framework}"))
        if run.is_main and (done is None or not any(name.startswith("selector") for name in done["scores"])):
            selections.append(Job(run, "evidence.select_outputs"))
    return trainings + selections


def make_data(work: Path) -> None:
    counts = ["--num-train", str(plan.TRAIN_IMAGES), "--num-val", str(plan.TEST_IMAGES + plan.HELD_OUT_IMAGES)]
    command = [sys.executable, "-m", "ffc_dense.minidata", "all", "--root", str(folders.data(work)), *counts]
    subprocess.run(command, cwd=folders.ROOT, check=True)


def do(work: Path, waiting: list[Job]) -> None:
    """Two processes side by side, one thread each. What fails does not stop the others; it is told at the end."""
    running: dict[Job, subprocess.Popen] = {}
    failed: list[Job] = []
    done, total, begin = 0, len(waiting), time.time()
    try:
        while waiting or running:
            while len(running) < PROCESSES and (job := next_job(work, waiting)):
                waiting.remove(job)
                running[job] = start(work, job)
            time.sleep(0.5)
            for job, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[job]
                done += 1
                left = (time.time() - begin) / done * (total - done) / 60
                print(f"  {done}/{total} {job.name} (about {left:.0f} min left)", flush=True)
                if process.returncode:
                    failed.append(job)
                    print(f"  failed with exit code {process.returncode}, see {log(work, job)}", flush=True)
                    for lost in [other for other in waiting if other.run == job.run]:  # its selectors
                        waiting.remove(lost)
                        done += 1
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
    if failed:
        raise UserError(f"{len(failed)} jobs failed: {', '.join(job.name for job in failed)}")


def next_job(work: Path, waiting: list[Job]) -> Job | None:
    """The first one that can start: selectors are fitted when their run is done."""
    return next((job for job in waiting if not job.selects or folders.scores(work, job.run) is not None), None)


def log(work: Path, job: Job) -> Path:
    return folders.folder(work, job.run) / "log.txt"


def start(work: Path, job: Job) -> subprocess.Popen:
    run = job.run
    if not job.selects:
        folders.start_over_if_changed(work, run)
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    with open(log(work, job), "ab") as file:
        arguments = [str(work), run.task, run.head, str(run.iterations), str(run.seed)]
        command = [sys.executable, "-m", job.module, *arguments]
        return subprocess.Popen(command, cwd=folders.ROOT, env=environment, stdout=file, stderr=file)


if __name__ == "__main__":
    main()
