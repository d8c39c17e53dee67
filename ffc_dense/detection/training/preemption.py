"""SIGTERM, which a cluster sends before it takes the machine, and Ctrl-C: a checkpoint, then the end of all ranks."""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from functools import partial

import torch
from detectron2.checkpoint import Checkpointer
from detectron2.engine import HookBase
from detectron2.engine import launch as detectron2_launch
from detectron2.utils import comm
from torch import distributed as dist
from torch.multiprocessing import ProcessExitedException

from ...errors import TrainingStopped, UserError
from ...reliability.preemption import (
    EXIT_CODES,
    SIGNALS,
    CtrlC,
    StopSignals,
    shelter_workers,
    stopped_by,
)
from .data_stream import loader_of

SAID_BY_THE_RANK = (UserError.exit_code, TrainingStopped.exit_code, *EXIT_CODES)  # exit codes that follow a message

_logger = logging.getLogger(__name__)


class StopOnSigterm(HookBase):
    """After SIGTERM or Ctrl-C, finish the iteration, write a checkpoint and end with exit code 143 or 130; ``--resume``
    goes on. Another Ctrl-C ends the training at once.

    For all ranks, as the last hook. The signal may reach one rank before the other: they ask each other whether it came
    after each iteration, one number, and end after the same one. An evaluation that has begun is finished first. A
    training that has done its last iteration goes on to its end.

    Args:
        checkpointer: writes ``model_0004999.pth``, on the main rank.

    Raises:
        SystemExit: with code 143, or 130 after Ctrl-C, from ``after_step``.
    """

    def __init__(self, checkpointer: Checkpointer):
        self.checkpointer = checkpointer
        self._signals = StopSignals()

    def before_train(self) -> None:
        if not self._signals.catch(_logger.warning):
            return
        if (loader := loader_of(self.trainer)) is not None:  # it has no length
            shelter_workers(loader)

    def after_step(self) -> None:
        iteration = self.trainer.iter
        told = self._any_rank_told()
        if not told or iteration + 1 >= self.trainer.max_iter:
            return
        name = f"model_{iteration:07d}"
        if comm.is_main_process() and os.path.basename(self.checkpointer.get_checkpoint_file()) != f"{name}.pth":
            self.checkpointer.save(name, iteration=iteration)
        _logger.warning(
            "%s: stopped after iteration %d with a checkpoint; go on with --resume", stopped_by(told), iteration
        )
        comm.synchronize()  # the launcher ends the others as soon as one rank has ended
        raise SystemExit(128 + told)

    def after_train(self) -> None:
        self._signals.release()

    def _any_rank_told(self) -> int:
        if comm.get_world_size() == 1:
            return self._signals.told
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        told = torch.tensor(float(self._signals.told), device=device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return int(told.item())


def launch(main: Callable, num_gpus_per_machine: int, num_machines: int = 1, **kwargs) -> None:
    """Identical to detectron2's ``launch``, except for the process that starts the ranks and waits for them, and for
    how a rank ends (:func:`_rank`).

    It passes SIGTERM and Ctrl-C on to them and goes on waiting, and it ends with the exit code of the rank that ended
    first, 128 + N if signal N ended it. It prints which rank ended how, unless the rank has said it itself. A single
    process, which is the rank itself, is left alone.

    Raises:
        SystemExit: a rank ended with another exit code than 0, without an exception.
    """
    if num_gpus_per_machine * num_machines == 1:
        detectron2_launch(main, num_gpus_per_machine, num_machines, **kwargs)
        return
    before = {number: signal.signal(number, _PassOn()) for number in SIGNALS}
    try:
        detectron2_launch(partial(_rank, main), num_gpus_per_machine, num_machines, **kwargs)
    except ProcessExitedException as error:
        if error.exit_code not in SAID_BY_THE_RANK:
            print(f"{os.path.basename(sys.argv[0])}: error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code if error.exit_code > 0 else 128 - error.exit_code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rank(main: Callable, *args):
    """``main`` in a rank, which ends at once with its exit code, if it has one, when ``atexit``'s functions are done.

    What the teardown does behind them now and then aborts, in C++ ("terminate called without an active exception"), and
    SIGABRT would be told in the place of the code.
    """
    try:
        return main(*args)
    except SystemExit as error:
        if not isinstance(error.code, int):
            raise
        atexit._run_exitfuncs()  # loggers of experiments end their runs there, multiprocessing its workers
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.code)


class _PassOn:
    """Passes a signal on to the ranks. Another Ctrl-C ends all at once; what a terminal sends reaches the ranks too."""

    def __init__(self) -> None:
        self.ctrl_c = CtrlC()

    def __call__(self, number: int, frame) -> None:
        if number == signal.SIGINT:
            self.ctrl_c()
        for rank in multiprocessing.active_children():
            os.kill(rank.pid, number)
