"""Run commands side by side, a few at a time. An interrupted one continues when it is started again."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .saving import write_text_atomically

NOTE = "key.txt"  # in a job's folder: the key that it started with


@dataclass(eq=False)
class Job:
    """A process, and the inputs of its results.

    Args:
        name: for messages.
        command: the command line. It must continue by itself with the files that an interrupted process left in
            ``folder``.
        folder: of its results. It is made, and emptied first if it was started with another key.
        key: of the inputs.
        log: the file that its output is added to.
        environment: variables beside those of this process.
        marker: a file that gets the key when the process has succeeded. None: the process marks itself as done.
        needs: the job whose results this one takes.
    """

    name: str
    command: list[str]
    folder: Path
    key: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    marker: Path | None = None
    needs: "Job | None" = None
    process: subprocess.Popen | None = field(default=None, init=False, repr=False)

    def is_done(self) -> bool:
        return self.marker is not None and self.marker.exists() and self.marker.read_text() == self.key

    def start(self, cwd: Path) -> None:
        if start_over_if_changed(self.folder, self.key):
            print(f"  {self.name}: the settings changed since the last run, starting over", flush=True)
        with open(self.log, "ab") as log:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(self.command, cwd=cwd, env=environment, stdout=log, stderr=log)


def start_over_if_changed(folder: Path, key: str) -> bool:
    """Make ``folder`` and write the key to it. Returns whether it was emptied, because its key was another one."""
    note = folder / NOTE
    changed = folder.exists() and (not note.exists() or note.read_text() != key)
    if changed:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(key, note)
    return changed


def run(
    jobs: Sequence[Job],
    processes: int,
    cwd: Path,
    *,
    started: Callable[[Job], None] = lambda job: None,
    ended: Callable[[Job, int], None] = lambda job, left: None,
    meanwhile: Callable[[list[Job]], None] = lambda running: None,
) -> list[Job]:
    """Run ``jobs``, at most ``processes`` at a time, in their order unless one needs another.

    A failed job does not stop the others; jobs that need it are skipped. When this function ends for any reason,
    SIGTERM ends the processes that still run.

    Args:
        cwd: the processes' folder.
        started: is called with a job that has just started.
        ended: is called with a job whose process has ended, and the number of the jobs that are left. It may raise.
        meanwhile: is called with the running jobs, twice a second.

    Returns:
        The failed jobs, without the skipped ones.
    """
    waiting, running, failed = list(jobs), [], []
    try:
        while waiting or running:
            while len(running) < processes and (job := _startable(waiting, running)):
                waiting.remove(job)
                job.start(cwd)
                running.append(job)
                started(job)
            time.sleep(0.5)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                if job.process.returncode == 0 and job.marker is not None:
                    write_text_atomically(job.key, job.marker)
                if job.process.returncode != 0:
                    failed.append(job)
                    waiting = _without_those_that_need(job, waiting)
                ended(job, len(waiting) + len(running))
            meanwhile(running)
    finally:
        for job in running:
            job.process.terminate()
        for job in running:
            job.process.wait()
    return failed


def _startable(waiting: list[Job], running: list[Job]) -> Job | None:
    return next((job for job in waiting if job.needs not in waiting and job.needs not in running), None)


def _without_those_that_need(failed: Job, waiting: list[Job]) -> list[Job]:
    for job in [job for job in waiting if job.needs is failed]:
        waiting = _without_those_that_need(job, [each for each in waiting if each is not job])
    return waiting
