"""tools/train_net.py, except that metrics.json has the losses of every iteration, not the median of the last twenty."""

import os

from detectron2.engine import default_argument_parser, hooks, launch
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter

from ffc_dense.detection.commands import train as train_net


class Trainer(train_net.Trainer):
    def build_hooks(self):
        found = super().build_hooks()
        if comm.is_main_process():
            path = os.path.join(self.cfg.OUTPUT_DIR, "metrics.json")
            found[-1] = hooks.PeriodicWriter([JSONWriter(path, window_size=1)], period=1)
        return found


def main(args):
    train_net.Trainer = Trainer
    return train_net.main(args)


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, (args,))
