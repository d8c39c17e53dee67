"""Kill a training of mmengine's Runner with SIGKILL at random moments, resume it each time, and report what was lost.

    python killed_training.py CONFIG WORK_DIR KILLS SEED [stock]

This process has imported everything and forks each training, which then starts within a second. Two kills of three come
when a random share of a checkpoint's bytes is on disk, or 10 ms later at most; the others at a random moment of the
training. A checkpoint has 40 MB of ballast, so that its write lasts. ``stock`` trains with mmengine's own
CheckpointHook instead.

Prints one JSON line per start: ``start`` (iterations done before it, None: it did not start), ``done`` (iterations done
when the kill came), ``aimed`` (the kill waited for a write to begin) and ``in_write`` (a file was being written, as it
looks afterwards: one newer than the start is partial or not whole).
"""

import contextlib
import json
import os
import random
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
from ffc_dense.reliability.saving import is_whole

CONFIG, WORK_DIR, KILLS, SEED = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
STOCK = sys.argv[5:] == ["stock"]
AFTER, ANY = 0.01, 0.6  # seconds: the longest wait after the share of a checkpoint, and after the first iteration
BALLAST = torch.zeros(10_000_000)  # 40 MB


@HOOKS.register_module()
class Progress(Hook):
    """Appends to ``progress``: what the training starts from, and each iteration before a checkpoint of it."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        note(f"start {runner.iter}")

    def after_train_iter(self, runner: Runner, batch_idx, data_batch=None, outputs=None) -> None:
        note(f"done {runner.iter + 1}")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["ballast"] = BALLAST


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
    if STOCK:
        cfg.default_hooks.checkpoint.type = "CheckpointHook"
        for name in ("safe_loading", "random_state"):
            cfg.default_hooks.pop(name)
    runner.collect_env = dict  # seconds of nvcc, gcc and the like, for the log
    Runner.from_cfg(cfg).train()


def notes(word: str) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        lines = (WORK_DIR / "progress").read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith(word)]
    return []


def sizes() -> dict[str, int]:
    found = {}
    for entry in os.scandir(WORK_DIR):
        if entry.name.endswith((".pth", ".partial")):
            with contextlib.suppress(FileNotFoundError):  # renamed or deleted meanwhile
                found[entry.name] = entry.stat().st_size
    return found


def written(before: dict[str, int]) -> int:
    """How much of a file is there that is new, or that is overwritten in place; -1 if there is none."""
    return max((size for name, size in sizes().items() if size < before.get(name, 1 << 60)), default=-1)


def in_write(began: float) -> bool:
    """Whether the kill left a file of this start unfinished."""
    recent = [path for path in WORK_DIR.iterdir() if path.suffix in (".pth", ".partial")]
    recent = [path for path in recent if path.stat().st_mtime > began]
    return any(path.suffix == ".partial" or not is_whole(path) for path in recent)


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
        began, process = time.time(), started()
        aimed = kill % 3 != 2
        passing = rng.randint(0, 6) if aimed else 0  # iterations, with their checkpoints
        while alive(process) and len(notes("done")) <= passing:
            time.sleep(0.005)
        if aimed:
            before, part = sizes(), rng.uniform(0, 1) * 4 * BALLAST.numel()
            while alive(process) and written(before) < part:
                time.sleep(0.0002)
        time.sleep(rng.uniform(0, AFTER if aimed else ANY))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        start, done = notes("start"), notes("done")
        result = dict(start=start[0] if start else None, done=done[-1] if done else None, aimed=aimed)
        result["in_write"] = in_write(began)
        print(json.dumps(result), flush=True)
        if not done:
            return


if __name__ == "__main__":
    main()
