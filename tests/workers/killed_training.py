"""Kill a training of mmengine's Runner with SIGKILL at random moments, resume it each time, and report what was lost.

    python killed_training.py CONFIG WORK_DIR KILLS SEED

This process has imported everything and forks each training, which then starts within a second. Two kills of three come
at a random moment from the beginning of a checkpoint's write to a little after its end; the others at a random
moment of the training. Prints one JSON line per start: ``start`` (iterations done before it, None: it did not start),
``done`` (iterations done when the kill came) and ``in_write``.
"""

import contextlib
import json
import os
import random
import re
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner, runner
from mmseg.registry import HOOKS

import ffc_dense.segmentation  # noqa: F401  (imported before the fork)

CONFIG, WORK_DIR, KILLS, SEED = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
WRITE, ANY = 0.06, 0.6  # seconds: the longest wait after a write has begun, and after the first iteration


@HOOKS.register_module()
class Progress(Hook):
    """Appends to ``progress``: what the training starts from, and each iteration before a checkpoint of it."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        note(f"start {runner.iter}")

    def after_train_iter(self, runner: Runner, batch_idx, data_batch=None, outputs=None) -> None:
        note(f"done {runner.iter + 1}")


def note(line: str) -> None:
    file = os.open(WORK_DIR / "progress", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def train() -> None:
    log = os.open(WORK_DIR / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    cfg = Config.fromfile(CONFIG, format_python_code=False)  # seconds of yapf
    cfg.work_dir, cfg.resume = str(WORK_DIR), True
    cfg.custom_hooks = [dict(type="Progress")]
    runner.collect_env = dict  # seconds of nvcc, gcc and the like, for the log
    Runner.from_cfg(cfg).train()


def notes(word: str) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        lines = (WORK_DIR / "progress").read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith(word)]
    return []


def checkpoints() -> set[str]:
    return {name for name in os.listdir(WORK_DIR) if re.fullmatch(r"iter_\d+\.pth", name)}


def write_has_begun(before: set[str]) -> bool:
    """A temporary file is there, or an older checkpoint is gone: mmengine's own hook removes it first."""
    return not before <= checkpoints() or any(name.endswith(".partial") for name in os.listdir(WORK_DIR))


def alive(process: int) -> bool:
    """Whether a child runs; its exit status is kept for main()."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def started() -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            train()
            status = 0
        finally:
            traceback.print_exc()
            os._exit(status)
    return process


def main() -> None:
    rng = random.Random(SEED)
    WORK_DIR.mkdir(parents=True, exist_ok=True)
    for kill in range(KILLS + 1):
        (WORK_DIR / "progress").unlink(missing_ok=True)
        process = started()
        while alive(process) and not notes("done"):
            time.sleep(0.005)
        in_write = kill % 3 != 2
        if in_write:
            before = checkpoints()
            while alive(process) and not write_has_begun(before):
                before |= checkpoints()
                time.sleep(0.0002)
        time.sleep(rng.uniform(0, WRITE if in_write else ANY))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        start, done = notes("start"), notes("done")
        result = dict(start=start[0] if start else None, done=done[-1] if done else None, in_write=in_write)
        print(json.dumps(result), flush=True)
        if not done:
            return


if __name__ == "__main__":
    main()
