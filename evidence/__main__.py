"""``make evidence``: train every run of the plan that is not done, two at a time, and write the report.

    python -m evidence [--work-dir DIR] [--only TEXT] [--list] [--merge] [--write-docs]
    python -m evidence report [--write-docs]   # only the tables and pictures, from evidence.json

A finished run is not repeated; an interrupted run resumes from its last checkpoint. The report is
docs/background/evidence.md and evidence-tables.md with the tables of these runs, in the work directory, or with
``--write-docs`` in docs.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reporting
from ffc_dense.reliability.jobs import Job
from ffc_dense.reliability.jobs import run as run_jobs

from . import folders, plan, record
from .plan import Run

DOCS = folders.ROOT / "docs"
NAME = "evidence_quick" if plan.QUICK else "evidence"  # the quick runs have other data
PROCESSES = max(1, min(2, len(os.sched_getaffinity(0))))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--work-dir", type=Path, default=folders.ROOT / "work_dirs" / NAME)
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only runs whose name contains TEXT, such as detection/ffc/"
    )
    parser.add_argument("--list", action="store_true", help="list the runs, mark those that are done, and exit")
    parser.add_argument("--merge", action="store_true", help="count the runs of docs/evidence.json as done")
    parser.add_argument(
        "--write-docs", action="store_true", help="write the report into docs instead of the work directory"
    )
    args = parser.parse_args(argv)
    if plan.QUICK and (args.write_docs or args.merge):
        parser.error("EVIDENCE_QUICK=1 measures nothing: no --write-docs, no --merge")
    with reporting("evidence", debug=False):
        execute(args, parser)


def execute(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    work = args.work_dir.resolve()
    record_of, target = DOCS / "evidence.json", DOCS / "background"
    if not args.write_docs:
        record_of, target = work / "evidence.json", work
    if args.command == "report":
        report(record.read_record(record_of), target)
        return
    runs = [run for run in plan.PLAN if args.only in run.name]
    if not runs:
        parser.error(f"--only {args.only}: no run of the plan has this in its name, see --list")
    known = record.read_record(DOCS / "evidence.json") if args.merge else []
    if args.write_docs:
        done = {run for run in plan.PLAN if folders.scores(work, run) is not None}
        kept = {(run, 0) for run in {*runs, *done}} | {result.identity for result in known}
        record.refuse_loss(kept, record_of)
    jobs = unfinished(work, [run for run in runs if (run, 0) not in {result.identity for result in known}])
    if args.list:
        missing = {job.folder for job in jobs}
        for run in runs:
            print("     " if folders.folder(work, run) in missing else "done ", run.name)
        return
    print(f"{len(runs)} runs, {len(jobs)} jobs to do; each run in a folder of {work}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the trainings too, see do()
    work.mkdir(parents=True, exist_ok=True)
    with open(work / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is using {work}; wait for it or choose another --work-dir") from None
        make_data(work, {run.task for run in runs})
        do(jobs)
    results = record.merged(record.collect(work), known)
    record.write_record(results, record_of)
    report(results, target)


def report(results: list[record.Result], target: Path) -> None:
    from .report import PAGES, write  # matplotlib, which trainings do not require

    write(results, DOCS / "background", target)
    print(f"report: {target / PAGES[0]}")


def unfinished(work: Path, runs: list[Run]) -> list[Job]:
    """The trainings of unfinished runs, then the fits of their selectors."""
    trainings, selections = [], []
    for run in runs:
        done, training = folders.scores(work, run), None
        framework = run.task if run.task in ("detection", "classification") else "segmentation"
        if done is None:
            training = job(work, run, f"evidence.train_{framework}")
            trainings.append(training)
        if run.is_main and (done is None or not any(name.startswith("selector") for name in done["scores"])):
            selections.append(job(work, run, "evidence.select_outputs", training))
    return trainings + selections


def job(work: Path, run: Run, module: str, needs: Job | None = None) -> Job:
    """A process: the training of a run, or the fit of its selectors, which waits for an unfinished training."""
    return Job(
        name=run.name + (", selectors" if module.endswith("select_outputs") else ""),
        command=[sys.executable, "-m", module, str(work), run.task, run.head, str(run.iterations), str(run.seed)],
        folder=folders.folder(work, run),
        key=run.key,
        log=folders.folder(work, run) / "log.txt",
        environment=dict(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore"),
        needs=needs,
    )


def make_data(work: Path, tasks: set[str]) -> None:
    images = (plan.TRAIN_IMAGES, plan.TEST_IMAGES, plan.HELD_OUT_IMAGES)
    wanted = {"coco": images} if "detection" in tasks else {}
    wanted |= {"imagenet": plan.PER_CLASS} if "classification" in tasks else {}
    wanted |= {"cityscapes": images} if tasks - {"detection", "classification"} else {}
    for name, (train, test, held_out) in wanted.items():
        root = folders.data(work) / f"mini_{name}"
        counts = ["--num-train", str(train), "--num-val", str(test + held_out)]
        command = [sys.executable, "-m", "ffc_dense.minidata", name, "--root", str(root), *counts]
        subprocess.run(command, cwd=folders.ROOT, check=True)


def do(todo: list[Job]) -> None:
    """Run two processes at a time, one thread each. A failure does not stop the others; it is reported at the end."""
    total, begin = len(todo), time.time()

    def ended(job: Job, left: int) -> None:
        minutes = (time.time() - begin) / (total - left) * left / 60
        print(f"  {total - left}/{total} {job.name} (about {minutes:.0f} min left)", flush=True)
        if job.process.returncode:
            print(f"  failed with exit code {job.process.returncode}, see {job.log}", flush=True)

    failed = run_jobs(todo, PROCESSES, folders.ROOT, ended=ended)
    if failed:
        raise UserError(f"{len(failed)} jobs failed: {', '.join(job.name for job in failed)}")


if __name__ == "__main__":
    main()
