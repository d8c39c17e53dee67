"""Two gloo ranks of a small detector; in the fourth iteration something happens to rank 1 alone.

    python faults_on_one_rank.py OUTPUT_DIR FAULT...

``nan``: its loss. ``sigterm``: the signal. ``sigterm-parent``: the signal to the process that waits for the ranks. One
training after the other; each rank writes how each ended to OUTPUT_DIR/FAULT/rankN, and ends as the last one.
"""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "helpers"))

from detectron2.utils import comm
from tiny_training import make_dataset, tiny_cfg, train

from ffc_dense.detection.training.preemption import launch
from ffc_dense.detection.training.trainer import ReliableTrainer
from ffc_dense.errors.reporting import reporting

OUT, FAULTS = Path(sys.argv[1]), sys.argv[2:]


class Trainer(ReliableTrainer):
    fault = ""

    def build_hooks(self) -> list:
        self.model.module.register_forward_hook(self.spoil)
        return super().build_hooks()

    def spoil(self, model, images, losses: dict) -> dict:
        here = comm.get_rank() == 1 and self.iter == 3 and self.fault == "nan"
        return losses | {"loss_box_reg": losses["loss_box_reg"] * float("nan")} if here else losses

    def run_step(self) -> None:
        if comm.get_rank() == 1 and self.iter == 3 and self.fault != "nan":
            os.kill(os.getppid() if self.fault == "sigterm-parent" else os.getpid(), signal.SIGTERM)
        if self.fault == "sigterm-parent" and self.iter >= 3:
            time.sleep(0.2)  # the parent passes it on
        super().run_step()


def main() -> None:
    name = make_dataset(OUT / f"data{comm.get_rank()}")
    with reporting("faults_on_one_rank.py"):
        for Trainer.fault in FAULTS:
            out = OUT / Trainer.fault
            cfg = tiny_cfg(out, "SOLVER.MAX_ITER", 12, "SOLVER.CHECKPOINT_PERIOD", 100, "DATASETS.TRAIN", [name])
            try:
                train(cfg, kind=Trainer)
            except BaseException as error:
                (out / f"rank{comm.get_rank()}").write_text(f"{type(error).__name__}: {error}")
                if Trainer.fault == FAULTS[-1]:
                    raise


if __name__ == "__main__":
    launch(main, 2, dist_url="auto")
