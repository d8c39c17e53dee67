"""Run folders -> runs, with the scores of evaluations beside or inside them."""

import importlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ..frameworks import FRAMEWORKS, Framework, by_name
from . import detectron2_runs, mmengine_runs
from .files import checkpoint_of, read_json
from .run import STOCK, Evaluation, Run

REDUCTIONS = "reductions.json"  # of tools/eval_coco.py and tools/eval_cityscapes.py
EXPECTED = (
    "expected detectron2's config.yaml and metrics.json, mmengine's dumped config and */vis_data/scalars.json, or an "
    f"evaluation's {REDUCTIONS}"
)
ITERATION = re.compile(r"^(?:model|iter|epoch)_(\d+)\.pth$")


def read_runs(folders: Iterable[Path | str], left_out: list[str] | None = None) -> list[Run]:
    """The training runs in ``folders``, each once, with every score that was found.

    A folder is that of a training, or of an evaluation: ``reductions.json``, the ``results.json`` of ``train_net.py
    --eval-only``, or the files of mmseg's ``test.py``. An evaluation belongs to the training whose folder holds the
    evaluated checkpoint, wherever the evaluation's own files are. Evaluations in a direct subfolder of a training are
    found too.

    Args:
        left_out: if given, a folder or an evaluation that cannot be read is added as a line, without an error.

    Raises:
        FileNotFoundError: a folder is missing or holds neither, or the training folder of its checkpoint is gone.
        ValueError: a file is malformed; the message names it.
    """
    runs: dict[Path, Run] = {}
    readable = []
    for folder in map(Path, folders):
        with _collecting(left_out):
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder} is not a folder; give output folders of trainings or evaluations")
            if (run := _training(folder)) is not None:
                runs.setdefault(folder.resolve(), run)
            elif not _evaluation_files(folder):
                raise FileNotFoundError(f"{folder} holds no run: {EXPECTED}")
            readable.append(folder)
    seen = set()
    for folder in readable:
        for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
            for path in _evaluation_files(place):
                if path.resolve() in seen:
                    continue
                seen.add(path.resolve())
                with _collecting(left_out):
                    if (evaluation := _evaluation(path)) is not None:
                        _attach(runs, evaluation)
    return sorted(runs.values(), key=lambda run: (run.framework.name, str(run.folder)))


@contextmanager
def _collecting(left_out: list[str] | None) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        if left_out is None:
            raise
        left_out.append(str(error))


def _training(folder: Path) -> Run | None:
    reader = next((reader for reader in _readers() if reader.is_run(folder)), None)
    return reader.read(folder) if reader else None


def is_run(folder: Path) -> bool:
    """Whether a training wrote into ``folder``."""
    return any(reader.is_run(folder) for reader in _readers())


def reader_of(framework: Framework) -> ModuleType:
    """The module that reads the run folders of a framework."""
    return importlib.import_module(framework.reader)


def _readers() -> list[ModuleType]:
    """Each once: frameworks can share one."""
    return list(dict.fromkeys(map(reader_of, FRAMEWORKS)))


def _evaluation_files(folder: Path) -> list[Path]:
    """The files with scores directly in ``folder``, the most exact ones last."""
    found = [path for path in sorted(folder.glob("*/*.json")) if mmengine_runs.is_test(path)]
    if detectron2_runs.is_evaluation(folder):
        found.append(folder / "results.json")
    if (folder / REDUCTIONS).is_file():
        found.append(folder / REDUCTIONS)
    return found


def _evaluation(path: Path) -> Evaluation | None:
    if path.name == "results.json":
        return detectron2_runs.evaluation(path.parent)
    if path.name != REDUCTIONS:
        return mmengine_runs.test(path)
    content = read_json(path)
    try:
        results = content["results"]
        scores = reader_of(by_name(content["framework"])).reduced_scores(results)
        return Evaluation(path, checkpoint_of(path, content), scores, content.get("dataset"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error} is missing or of a wrong type; evaluate again") from error


def _attach(runs: dict[Path, Run], evaluation: Evaluation) -> None:
    path, checkpoint = evaluation.path, evaluation.checkpoint
    training = _training_folder(path, checkpoint)
    if training not in runs:
        run = _training(training) if training.is_dir() else None
        if run is None:
            raise FileNotFoundError(
                f"{path} evaluates {checkpoint}, but its folder {training} holds no training: seed and schedule are "
                "unknown. Start this command where the evaluation was started, or bring the training's logs back"
            )
        runs[training] = run
    run = runs[training]
    if any((name == STOCK) != (run.variant == STOCK) for name in evaluation.scores):
        raise ValueError(
            f"{path} has scores of {', '.join(evaluation.scores)}, but {checkpoint} was trained as {run.variant}: "
            "evaluate it with the config that it was trained with"
        )
    iteration = _iteration(run, checkpoint)
    if evaluation.left_out:
        run.notes.append(f"{path.name} left out: {evaluation.left_out}")
    elif evaluation.dataset and run.datasets and evaluation.dataset not in run.datasets:
        run.notes.append(f"{path.name} left out: of {evaluation.dataset}, the run's test set is {run.datasets[0]}")
    elif iteration is not None and iteration < run.max_iterations:
        run.notes.append(f"{path.name} evaluates {run.unit} {iteration:,} of {run.max_iterations:,}")
    elif run.finished:
        for reduction, metrics in evaluation.scores.items():
            run.add_scores(reduction, metrics or {}, path)


def _training_folder(path: Path, checkpoint: Path) -> Path:
    """The folder of a checkpoint. A relative path is tried from the folders above the evaluation, then from here.

    If it is gone and the run around the evaluation has the same name and checkpoint, that run has been moved.
    """
    for start in (*path.resolve().parents, Path()):
        if (start / checkpoint).parent.is_dir() and checkpoint.name:
            return (start / checkpoint).parent.resolve()
    gone = checkpoint.parent.resolve()
    for folder in path.resolve().parents[:2]:
        if folder.name == gone.name and (folder / checkpoint.name).is_file() and is_run(folder):
            return folder
    return gone


def _iteration(run: Run, checkpoint: Path) -> int | None:
    """The iterations of the checkpoint, by its name; None for model_final.pth and other names."""
    found = ITERATION.search(checkpoint.name)
    if not found:
        return None
    return reader_of(run.framework).iterations_of(int(found[1]))
