"""torchrun with another exit code: that of the process on this machine that ended first, where torchrun has 1.

    python tools/torchrun.py ARGS      # those of torchrun; tools/dist_train.sh starts mmseg's trainings with it

A process must run in ``ffc_dense.errors.reporting.recording_exit_code``, as tools/mmseg_tool.py does, to record its
exit code: 2 for wrong input, 3 for a training that stopped by itself, 143 after SIGTERM and a checkpoint. Otherwise,
for example after SIGKILL, the exit code is torchrun's. This module imports no framework: the launcher would hold its
memory while the job runs.
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
