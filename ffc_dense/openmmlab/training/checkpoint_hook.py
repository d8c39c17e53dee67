"""Checkpoints that survive a kill, a full disk and weights that are no longer finite."""

from collections import deque
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...errors import TrainingStopped
from ...reliability.run_folder import lock_run_folder
from ...reliability.saving import refuse_non_finite, remove_partial_files, write_text_atomically
from . import atomic_backend, random_state
from .main_process import from_main, raise_from_main
from .resumed_model import refuse_other_model
from .resuming import POINTER, checkpoint_to_resume


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Identical to :class:`mmengine.hooks.CheckpointHook`, except that no moment is without a whole checkpoint.

    - Each file, and ``last_checkpoint`` after it, is written under a temporary name, forced to the disk and renamed.
    - Files beyond ``max_keep_ckpts``, and the previous best one, are deleted after that and not before.
    - A checkpoint whose weights or optimizer state hold NaN or infinity is not written: training stops.
    - A write that fails, as on a full disk, stops the training on all processes and leaves the previous files alone.
    - ``--resume`` goes on from the newest whole file when ``last_checkpoint`` is missing or empty, or names a file that
      is missing or damaged (:func:`.resuming.checkpoint_to_resume`); the log has a warning.
    - ``--resume`` with another model or optimizer is refused, and the keys of the config that differ are named.
    - Another training in the same ``work_dir`` is refused (:mod:`ffc_dense.reliability.run_folder`).
    - ``meta`` of a checkpoint has the random state of every process (:mod:`.random_state`).

    All of this is for local files. With an ``out_dir`` elsewhere (``s3://...``) or ``file_client_args``, the hook is
    mmengine's, plus the random state and the check of the weights. Files of ``published_keys`` are written as mmengine
    writes them.

    Raises:
        ffc_dense.reliability.saving.NotSaved: a file could not be written.
        ffc_dense.reliability.saving.NonFiniteState: the weights or the optimizer's state are not finite.
        CannotResume: ``--resume`` from a checkpoint of another model or optimizer.
        NothingToResume: ``--resume``, and the folder holds damaged checkpoints only.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._previous: str | None = None  # the last file that is whole, for the messages
        self._target: str | Path = "the checkpoint"

    def before_run(self, runner: Runner) -> None:
        """Choose the file to resume from, before mmengine reads ``last_checkpoint`` for it."""
        if not runner._resume or runner._load_from is not None or not self._is_local(runner):
            return
        path, warning = from_main(checkpoint_to_resume, runner.work_dir, self._folder(runner), self.filename_tmpl)
        if warning:
            runner.logger.warning(warning)
        # mmengine's own answer if this is None: it finds no pointer and starts from the beginning.
        runner._load_from = path

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            refuse_other_model(runner, checkpoint, str(runner._load_from))

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if self._is_local(runner):
            from_main(lock_run_folder, runner.work_dir, "work_dir")
        self._atomic = self.file_client_args is None and isinstance(self.file_backend, LocalBackend)
        if not self._atomic:
            runner.logger.warning(f"{self.out_dir} is no local folder: checkpoints are written as mmengine writes them")
        elif is_main_process():
            for path in remove_partial_files(self.out_dir) if Path(self.out_dir).is_dir() else ():
                runner.logger.info(f"Removed {path}, which a stopped process left behind")
        # Not in self.last_ckpt, which mmengine reads as "saved by this process".
        self._previous = runner._load_from if runner._resume else None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        state = {name: checkpoint[name] for name in ("state_dict", "optimizer") if name in checkpoint}
        refuse_non_finite(state, self._target, previous=self._previous)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        meta[random_state.KEY] = random_state.gather(runner)
        if not self._atomic:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        kept = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        if self.max_keep_ckpts > 0:
            if step not in kept:
                kept.append(step)
            # With the one that is about to go: if a kill comes first, the resumed run removes it (before_train).
            runner.message_hub.update_info("keep_ckpt_ids", kept)
        name = self.filename_tmpl.format(step)
        path = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", path)
        self.backend_args = dict(backend=atomic_backend.NAME, previous=self._previous)
        self._target = path
        self._on_all(self._write, runner, name, path, meta)
        self.last_ckpt = self._previous = path
        if self.max_keep_ckpts > 0:
            for outdated in kept[: -self.max_keep_ckpts]:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated)))
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)

    def _write(self, runner: Runner, name: str, path: str, meta: dict) -> None:
        runner.save_checkpoint(
            self.out_dir, name, save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler,
            meta=meta, by_epoch=self.by_epoch, backend_args=self.backend_args, **self.args,
        )  # fmt: skip
        if is_main_process():
            write_text_atomically(path, Path(runner.work_dir, POINTER), previous=path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best or not self._atomic:
            super()._save_best_checkpoint(runner, metrics)
            return
        before = self._best_paths()
        self.backend_args = dict(backend=atomic_backend.NAME, previous=self._previous)
        self._target = Path(self.out_dir, "best_*.pth")
        backend, self.file_backend = self.file_backend, _RemovesNothing()
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        for path in before - self._best_paths():
            self._remove(path)
            runner.logger.info(f"The previous best checkpoint {path} is removed")

    def _best_paths(self) -> set[str]:
        paths = [getattr(self, "best_ckpt_path", None), *getattr(self, "best_ckpt_path_dict", {}).values()]
        return {path for path in paths if path}

    def _remove(self, path: str) -> None:
        if is_main_process():  # in this folder: a path may be of the folder that this one is a copy of
            Path(self.out_dir, Path(path).name).unlink(missing_ok=True)

    def _folder(self, runner: Runner) -> str:
        """Where mmengine's before_train is going to put the files."""
        if self.out_dir is None or self.out_dir == runner.work_dir:
            return runner.work_dir
        return str(Path(self.out_dir, Path(runner.work_dir).name))

    def _is_local(self, runner: Runner) -> bool:
        folder = runner.work_dir if self.out_dir is None else self.out_dir
        backend = get_file_backend(folder, backend_args=self.backend_args)
        return self.file_client_args is None and isinstance(backend, LocalBackend)

    def _on_all(self, write, *args) -> None:
        """Call ``write``, which writes on the main process; an error of it stops every process and none waits."""
        error = None
        try:
            write(*args)
        except TrainingStopped as raised:
            error = raised
        raise_from_main(error)


class _RemovesNothing(LocalBackend):
    """Finds no file: mmengine's hook then deletes nothing before it writes."""

    def isfile(self, filepath) -> bool:
        return False

    def isdir(self, filepath) -> bool:
        return False
