"""The demo's processes: when one is finished, how far it is, and two of them side by side."""

import hashlib
import importlib.metadata
import json
import os
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..minidata.folder import MARKER
from ..reliability import jobs
from ..reliability.jobs import Job
from . import shipped_configs

SIDE_BY_SIDE = 2


@dataclass(eq=False)
class DemoJob(Job):
    """A job that shows its progress.

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
        """Iteration and time left, if they are known."""
        now = self.iteration()
        if self.first is None and now:
            self.first = (now, time.time())
        text = f"{self.name} {now}/{self.iterations}" if self.iterations else self.name
        if self.first and now > self.first[0]:
            seconds = (self.iterations - now) * (time.time() - self.first[1]) / (now - self.first[0])
            text += f" (about {seconds / 60:.1f} min left)"
        return text


def demo_job(name: str, folder: Path, command: list[str], progress: str = "", iterations: int = 0) -> DemoJob:
    """A job that runs again if its command, the datasets, this package, its configs or torch change."""
    datasets = [path.read_text() for path in sorted(Path("data").glob(f"*/{MARKER}"))]
    key = hashlib.sha256((json.dumps([command, datasets]) + code_digest()).encode()).hexdigest()
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
    """For the demo's processes: CPU only and the demo's data, independent of the user's settings."""
    cores = min(4, len(os.sched_getaffinity(0)))  # small models do not use more than 4
    threads = max(1, cores // SIDE_BY_SIDE)
    return dict(CUDA_VISIBLE_DEVICES="", DETECTRON2_DATASETS=str(Path("data").resolve()), PYTHONWARNINGS="ignore",
                OMP_NUM_THREADS=str(threads))  # fmt: skip


def run(title: str, stage: list[DemoJob]) -> None:
    """Run the unfinished jobs of a stage, two at a time, and print their progress every 15 seconds."""
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
