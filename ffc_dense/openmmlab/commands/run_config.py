"""The config of a training, which mmengine's Runner writes into its folder, where another command would replace it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from mmengine.runner import Runner

from ...reliability.resuming import CannotResume


@contextmanager
def left_by_tests() -> Iterator[None]:
    """Within the context a Runner writes its config into the folder of its log where a training's config lies in its
    ``work_dir``.
    """
    dump = Runner.dump_config

    def beside(runner: Runner) -> None:
        if any(Path(runner.work_dir).glob("*.pth")):  # of a training
            name = Path(runner.cfg.filename or "config.py").name
            runner.cfg.dump(str(Path(runner.log_dir, name)))
        else:
            dump(runner)

    with patch.object(Runner, "dump_config", beside):
        yield


@contextmanager
def left_by_refusals(path: Path) -> Iterator[None]:
    """Within the context a training that cannot be resumed leaves the config ``path``, of what it would go on from."""
    before = path.read_bytes() if path.is_file() else None
    try:
        yield
    except CannotResume:
        if before is not None:
            path.write_bytes(before)
        raise
