"""Kill trainings of tools/train_net.py with SIGKILL at random moments, resume each time, and report what was lost.

    DETECTRON2_DATASETS=DIR python killed_detectron2.py OUTPUT_DIR KILLS SEED [stock]

This process has imported everything and forks each training, which then starts within a second or two. One checkpoint
is kept, and the best one (``model_best.pth``), which gets better every second iteration. Of three kills, two come
while a checkpoint is being written and one at any moment. ``stock`` trains with detectron2's own checkpointer instead.

Prints one JSON line per start: ``start`` (iterations done before it; null if it did not start), ``done`` (iterations
done when the kill came, before the checkpoint after the last one) and ``in_write`` (a file was being written).
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "helpers"))

from detectron2.engine import DefaultTrainer, hooks
from tiny_training import NARROW

from ffc_dense.detection.commands import train as train_net
from ffc_dense.reliability.saving import is_whole

ROOT = Path(__file__).parent.parent.parent
OUT, KILLS, SEED = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
STOCK = sys.argv[4:] == ["stock"]
INTERVAL = 2  # iterations between checkpoints
PATIENCE, ANY = 60.0, 4.0  # seconds: the longest wait for something to happen; the latest kill at any moment
CHECKPOINT = 45e6  # bytes


class Rising(hooks.HookBase):
    """A metric that gets better all the time."""

    def after_step(self) -> None:
        self.trainer.storage.put_scalar("rising", float(self.trainer.iter), smoothing_hint=False)


class Noting(hooks.HookBase):
    """Appends to ``progress`` what the training starts from, and each iteration before the checkpoint after it."""

    def before_train(self) -> None:
        note(f"start {self.trainer.start_iter}")

    def after_step(self) -> None:
        note(f"done {self.trainer.iter + 1}")


class Trainer(train_net.Trainer):
    def build_hooks(self) -> list:
        found = DefaultTrainer.build_hooks(self) if STOCK else super().build_hooks()
        if STOCK:
            stock = hooks.PeriodicCheckpointer(self.checkpointer, self.cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=1)
            found = [stock if isinstance(hook, hooks.PeriodicCheckpointer) else hook for hook in found]
        return [Noting(), Rising(), *found, hooks.BestCheckpointer(INTERVAL, self.checkpointer, "rising")]


def note(line: str) -> None:
    file = os.open(OUT / "progress", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def train() -> None:
    log = os.open(OUT / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    train_net.Trainer = Trainer
    config = ROOT / "configs" / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
    # The head makes the checkpoint large, 46 MB, and the iteration hardly slower.
    opts = [*NARROW, "MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 2048,
            "OUTPUT_DIR", OUT, "SOLVER.MAX_ITER", 100000, "SOLVER.CHECKPOINT_PERIOD", 3 * INTERVAL,
            "SOLVER.CHECKPOINT_MAX_TO_KEEP", 1]  # fmt: skip
    train_net.command(["--config-file", str(config), "--resume", *map(str, opts)])


def start() -> int:
    (OUT / "progress").write_text("")
    child = os.fork()
    if child:
        return child
    try:
        train()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def sizes() -> dict[str, int]:
    found = {}
    for entry in os.scandir(OUT):
        if entry.name.endswith((".pth", ".partial")):
            try:
                found[entry.name] = entry.stat().st_size
            except FileNotFoundError:  # replaced meanwhile
                continue
    return found


def written(before: dict[str, int]) -> int:
    """How much of a file is there that is new, or that is overwritten in place; -1 if there is none."""
    return max((size for name, size in sizes().items() if size < before.get(name, 1 << 60)), default=-1)


def wait_for(condition, child: int) -> bool:
    """Whether the condition came true while the child lived."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return True
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        time.sleep(0.001)
    return False


def progress(what: str) -> list[int]:
    lines = (OUT / "progress").read_text().split("\n")[:-1]
    return [int(line.split()[1]) for line in lines if line.startswith(what)]


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    moments = random.Random(SEED)
    for kill in range(KILLS + 1):  # the last start shows what is left after the last kill
        began, child = time.time(), start()
        if kill == KILLS:
            wait_for(lambda: progress("start"), child)
        elif kill % 3:
            passing = INTERVAL * moments.randint(0, 3)  # iterations, with their checkpoints
            wait_for(lambda passing=passing: len(progress("done")) > passing, child)
            before, part = sizes(), moments.uniform(0, 1.05) * CHECKPOINT
            if wait_for(lambda before=before: written(before) >= 0, child):
                wait_for(lambda before=before, part=part: not 0 <= written(before) < part, child)
            time.sleep(moments.uniform(0, 0.01))
        else:
            time.sleep(moments.uniform(0, ANY))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        started, done = progress("start"), progress("done")
        recent = [OUT / name for name in sizes() if (OUT / name).stat().st_mtime > began]
        in_write = any(path.suffix == ".partial" or not is_whole(path) for path in recent)
        line = {"start": started[0] if started else None, "done": done[-1] if done else None, "in_write": in_write}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
