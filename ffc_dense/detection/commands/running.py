"""What the commands that detectron2 launches share: arguments, and processes that report errors of the input."""

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from detectron2.engine import default_argument_parser

from ...data.own import add_dataset_argument
from ...errors.reporting import add_debug_argument, reporting
from ...safe_files import add_weights_only_argument
from ..training.preemption import launch

Main = Callable[[Namespace], Any]


def argument_parser(epilog: str | None = None) -> ArgumentParser:
    """detectron2's, with ``--dataset``, ``--weights-only`` and ``--debug``, and with examples of the program."""
    parser = default_argument_parser(epilog or examples(sys.argv[0]))
    add_dataset_argument(parser)
    add_weights_only_argument(parser)
    add_debug_argument(parser)
    return parser


def examples(prog: str) -> str:
    start = f"{prog} cfg.yaml" if prog.startswith("ffc-dense ") else f"{prog} --config-file cfg.yaml"
    machines = "\n".join(
        f"    (machine{rank})$ {start} --machine-rank {rank} --num-machines 2 --dist-url <URL>" for rank in (0, 1)
    )
    return f"""examples:
  one machine:
    $ {start} --num-gpus 8
  other values of the config:
    $ {start} MODEL.WEIGHTS /path/to/weight.pth SOLVER.BASE_LR 0.001
  several machines:
{machines}
"""


def run(main: Main, prog: str, args: Namespace) -> None:
    """``main(args)`` in every process of the job, where an error of the input is a message and an exit code."""
    # launch() ends its ranks with SIGINT when this process dies, which a shell makes its background jobs ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with reporting(prog, args.debug):
        launch(
            _reported,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(main, prog, args),
        )


def _reported(main: Main, prog: str, args: Namespace) -> Any:
    with reporting(prog, args.debug):
        return main(args)
