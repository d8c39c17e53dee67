"""Two gloo ranks of a small detector; in the fourth iteration something happens to rank 1 alone.

    python faults_on_one_rank.py OUTPUT_DIR DATASET nan|sigterm|sigterm-parent

``nan``: its loss. ``sigterm``: the signal. ``sigterm-parent``: the signal to the process that waits for the ranks.
Each rank writes how its training ended to OUTPUT_DIR/rankN.
"""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "helpers"))

from detectron2.engine import defaults
from detectron2.engine.defaults import create_ddp_model
from detectron2.utils import comm
from tiny_training import make_dataset, tiny_cfg, train

from ffc_dense.commands import reporting
from ffc_dense.detection.preemption import launch
from ffc_dense.detection.training import ReliableTrainer

OUT, FAULT = Path(sys.argv[1]), sys.argv[2]


class Trainer(ReliableTrainer):
    def build_hooks(self) -> list:
        self.model.module.register_forward_hook(self.spoil)
        return super().build_hooks()

    def spoil(self, model, images, losses: dict) -> dict:
        here = comm.get_rank() == 1 and self.iter == 3
        return losses | {"loss_box_reg": losses["loss_box_reg"] * float("nan")} if here and FAULT == "nan" else losses

    def run_step(self) -> None:
        if comm.get_rank() == 1 and self.iter == 3 and FAULT != "nan":
            os.kill(os.getppid() if FAULT == "sigterm-parent" else os.getpid(), signal.SIGTERM)
        if FAULT == "sigterm-parent" and self.iter >= 3:
            time.sleep(0.2)  # the parent passes it on
        super().run_step()


def main() -> None:
    defaults.create_ddp_model = lambda model, **options: create_ddp_model(model, **options | {"device_ids": None})
    name = make_dataset(OUT / f"data{comm.get_rank()}")
    cfg = tiny_cfg(OUT, "SOLVER.MAX_ITER", 12, "SOLVER.CHECKPOINT_PERIOD", 100, "DATASETS.TRAIN", [name])
    note = OUT / f"rank{comm.get_rank()}"
    with reporting("faults_on_one_rank.py"):
        try:
            train(cfg, kind=Trainer)
        except BaseException as error:
            note.write_text(f"{type(error).__name__}: {error}")
            raise


if __name__ == "__main__":
    launch(main, 2, dist_url="auto")
