"""torchrun, except for the exit code: that of the process of this machine that ended first, where torchrun's is 1.

    python tools/torchrun.py ARGS      # those of torchrun; tools/dist_train.sh starts mmseg's trainings with it

Only processes that run in ``ffc_dense.errors.reporting.recording_exit_code``, as tools/mmseg_tool.py does, can tell
theirs: 2 for wrong input, 3 for a training that stopped by itself, 143 for one that SIGTERM ended after a checkpoint.
Otherwise, as after SIGKILL, the exit code is torchrun's. It stands here, not beside the commands that it starts: it is
about how a job ends, and a launcher that imported a framework would hold its memory while the job runs.
"""

import os
import sys
import tempfile
from pathlib import Path

from torch.distributed.run import main

from ..errors.reporting import EXIT_CODES


def run(argv: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        codes = Path(folder, "exit_codes")
        os.environ[EXIT_CODES] = str(codes)
        try:
            main(argv)
        # SystemExit and ChildFailedError after a process has failed, SignalException after SIGTERM to torchrun itself.
        except BaseException as error:
            first = codes.read_text().split()[:1] if codes.exists() else []
            if not first or first == ["1"]:
                raise
            print(error, file=sys.stderr, flush=True)  # which rank ended how
            raise SystemExit(int(first[0])) from None


def command(argv: list[str] | None = None) -> None:
    run(sys.argv[1:] if argv is None else argv)
