"""Checkpoints of detectron2 that survive a kill, a full disk and non-finite weights."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine.hooks import PeriodicCheckpointer
from detectron2.utils import comm

from ...errors import UserError
from ...errors.wording import first_lines, is_ours
from ...reliability.resuming import POINTER, CannotResume, NothingToResume, choose_checkpoint
from ...reliability.saving import (
    is_whole,
    refuse_non_finite,
    remove_partial_files,
    save_atomically,
    write_text_atomically,
)
from ...safe_files import UnsafeFileError, read_torch
from ..inputs.checkpoint import CLASS_NAMES
from ..inputs.safe_loading import SafeLoading

NUMBERED = re.compile(r"_(\d{7,})\.pth")  # of model_0004999.pth, after the prefix


class AtomicCheckpointer(SafeLoading, DetectionCheckpointer):
    """Identical to :class:`DetectionCheckpointer`, except that

    * a checkpoint, and then ``last_checkpoint``, which names it, are replaced as a whole or not at all;
    * weights or optimizer states with NaN or infinity are not saved;
    * ``resume`` goes on from the whole checkpoint of the most iterations if the one that ``last_checkpoint`` names is
      not whole, or if that file is missing, with a warning that names both (:func:`.choose_checkpoint`), and removes
      what a killed run left half written;
    * loading runs no code of the file;
    * ``class_names``, if set, are saved too, so that a prediction shows names.

    Raises:
        UserError: ``save_dir`` is an address, not a folder: only a file system can replace a file at once.
        CannotResume: the model or the optimizer is not the one that was saved.
        NothingToResume: there are checkpoints to resume from, and none is whole.
        NotSaved, NonFiniteState: see :mod:`ffc_dense.reliability.saving`. The training stops; the previous
            checkpoint is untouched.
    """

    def __init__(self, model, save_dir: str = "", *, save_to_disk: bool | None = None, **checkpointables: Any):
        if "://" in save_dir:
            raise UserError(f"the output folder {save_dir} is an address; name a folder of a file system")
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.class_names: list[str] | None = None
        self._resuming: str | None = None

    def save(self, name: str, **kwargs: Any) -> None:
        if not self.save_dir or not self.save_to_disk:
            return
        state = {"model": self.model.state_dict()}
        state.update({key: part.state_dict() for key, part in self.checkpointables.items()}, **kwargs)
        if self.class_names:
            state[CLASS_NAMES] = self.class_names
        path, previous = os.path.join(self.save_dir, f"{name}.pth"), self.get_checkpoint_file() or None
        refuse_non_finite(state, path, previous=previous)
        self.logger.info("Saving checkpoint to %s", path)
        save_atomically(state, path, previous=previous)
        self.tag_last_checkpoint(f"{name}.pth")

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """As the stock method; a checkpoint to resume from must be this model's and this optimizer's.

        Raises:
            CannotResume: it is not.
        """
        if path != self._resuming:
            return super().load(path, checkpointables)
        try:
            return super().load(path, checkpointables)
        except (ValueError, KeyError) as error:  # of the optimizer's or scheduler's load_state_dict
            if is_ours(error):
                raise
            raise CannotResume(path, first_lines(error)) from error
        finally:
            self._resuming = None

    def _load_model(self, checkpoint: Any):
        incompatible = super()._load_model(checkpoint)
        if self._resuming:
            shapes = [key for key, *_ in incompatible.incorrect_shapes]
            wrong = [*incompatible.missing_keys, *shapes, *incompatible.unexpected_keys]
            if wrong:
                more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
                raise CannotResume(self._resuming, f"{wrong[0]}{more} are missing, of another shape, or too many")
        return incompatible

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_text_atomically(last_filename_basename, os.path.join(self.save_dir, POINTER))

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        if self.save_to_disk and os.path.isdir(self.save_dir):
            for partial in remove_partial_files(self.save_dir):
                self.logger.warning("Removed %s, which a killed process left half written", partial)
        # One rank reads the files to see whether they are whole; all of them load the same one.
        found = comm.all_gather(self._to_resume() if resume and comm.is_main_process() else None)[0]
        if isinstance(found, NothingToResume):
            raise found
        self._resuming = found
        return self.load(found) if found else self.load(path, checkpointables=[])

    def _to_resume(self) -> str | NothingToResume | None:
        """The checkpoint to resume from, which ``last_checkpoint`` names afterwards. None if nothing was saved yet."""
        pointer = Path(self.save_dir, POINTER)
        named = pointer.read_text(errors="replace").strip() if pointer.is_file() else ""
        named = os.path.join(self.save_dir, named) if named else ""
        try:
            path, warning = choose_checkpoint(pointer, named, self._candidates(named), self._is_resumable)
        except NothingToResume as error:
            return error
        if warning:
            self.logger.warning(warning)
            self.tag_last_checkpoint(os.path.basename(path))
        return path

    def _candidates(self, named: str) -> Iterator[Path]:
        """The other checkpoints of a training, not by the time of their change, which a copy of the folder loses."""
        files = self.get_all_checkpoint_files() if os.path.isdir(self.save_dir) else []
        others = [path for path in files if path != named and os.path.isfile(path)]
        iterations = {path: self._iteration(path) for path in others}
        yield from (Path(path) for path in sorted(others, key=iterations.get, reverse=True) if iterations[path] >= 0)

    def _is_resumable(self, path: Path) -> bool:
        return self._saved_iteration(str(path)) >= 0

    def _iteration(self, path: str) -> int:
        """The iteration that a checkpoint was saved after: by its name or, without a number there, by its content."""
        number = NUMBERED.search(path)
        return int(number[1]) if number else self._saved_iteration(path)

    def _saved_iteration(self, path: str) -> int:
        """-1 for a file that no training can go on from: not whole, weights alone, or unsafe to read."""
        if not is_whole(path):
            return -1
        try:
            state = read_torch(path)
        except UnsafeFileError as error:
            self.logger.warning("Not resuming from %s: %s", path, error)
            return -1
        trainer = state.get("trainer") if isinstance(state, dict) else None
        iteration = trainer.get("iteration") if isinstance(trainer, dict) else None
        return iteration if isinstance(iteration, int) else -1


class KeepNewest(PeriodicCheckpointer):
    """Identical to detectron2's hook, except that ``max_to_keep`` counts the checkpoints from before a resume too.

    An older checkpoint is deleted after the newer one is on the disk.
    """

    def before_train(self) -> None:
        super().before_train()
        earlier = {}
        for path in self.checkpointer.get_all_checkpoint_files():
            name = os.path.basename(path)
            match = NUMBERED.fullmatch(name.removeprefix(self.file_prefix))
            if match and name.startswith(self.file_prefix) and int(match[1]) < self.trainer.start_iter:
                earlier[int(match[1])] = path
        self.recent_checkpoints = [earlier[iteration] for iteration in sorted(earlier)]

    def step(self, iteration: int, **kwargs: Any) -> None:
        super().step(iteration, **kwargs)
        if self.max_to_keep is not None and (iteration + 1) % self.period == 0:
            while len(self.recent_checkpoints) > self.max_to_keep:
                self.path_manager.rm(self.recent_checkpoints.pop(0))
