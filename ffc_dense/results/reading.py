"""Run folders -> runs, with the scores of evaluations that lie beside or inside them."""

import re
from collections.abc import Iterable
from pathlib import Path

from . import detectron2_runs, mmengine_runs
from .files import read_json
from .run import Run

REDUCTIONS = "reductions.json"  # of tools/eval_coco.py and tools/eval_cityscapes.py
EXPECTED = (
    "expected detectron2's config.yaml and metrics.json, mmengine's dumped config and */vis_data/scalars.json, or an "
    f"evaluation's {REDUCTIONS}"
)
ITERATION = re.compile(r"(?:model|iter)_(\d+)\.pth$")


def holds_run(folder: Path) -> bool:
    """Whether a training or an evaluation wrote into ``folder``; says nothing about the files' contents."""
    training = detectron2_runs.is_detectron2_run(folder) or mmengine_runs.is_mmengine_run(folder)
    return training or (folder / REDUCTIONS).is_file() or detectron2_runs.is_evaluation(folder) or any(
        path.stem == path.parent.name for path in folder.glob("*/*.json")
    )


def read_runs(folders: Iterable[Path | str]) -> list[Run]:
    """The training runs in ``folders``, each once, with every score that was found.

    A folder is one that a training wrote into, or one of an evaluation: ``reductions.json``, the ``results.json`` of
    ``train_net.py --eval-only``, or what mmseg's ``test.py`` leaves. An evaluation belongs to the training whose
    folder holds the checkpoint that it names; evaluations in a direct subfolder of a training are found too.

    Raises:
        FileNotFoundError: a folder is missing, holds neither, or its checkpoint's training folder is gone.
        ValueError: a file is malformed; the message names it.
    """
    folders = list(map(Path, folders))
    runs: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; give the output folders of trainings or evaluations")
        if (run := _training(folder)) is not None:
            runs.setdefault(folder.resolve(), run)
        elif not _evaluations(folder):
            raise FileNotFoundError(f"{folder} holds no run: {EXPECTED}")
    for folder in folders:
        places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
        for path, checkpoint, scores in (found for place in places for found in _evaluations(place)):
            _attach(runs, path, checkpoint, scores)
    return sorted(runs.values(), key=lambda run: (run.framework, str(run.folder)))


def _training(folder: Path) -> Run | None:
    if detectron2_runs.is_detectron2_run(folder):
        return detectron2_runs.read(folder)
    if mmengine_runs.is_mmengine_run(folder):
        return mmengine_runs.read(folder)
    return None


def _evaluations(folder: Path) -> list[tuple[Path, Path, dict[str, dict]]]:
    """(file, checkpoint, {reduction: metrics}) of every evaluation in ``folder`` itself; the most exact one last."""
    found = [(path, Path(checkpoint), {name: metrics})
             for path, checkpoint, name, metrics in mmengine_runs.tests(folder)]
    if detectron2_runs.is_evaluation(folder):
        found.append(detectron2_runs.evaluation(folder))
    path = folder / REDUCTIONS
    if path.is_file():
        content = read_json(path)
        try:
            results = content["results"]
            bbox = content["framework"] == "detectron2"
            # Nothing was scored on images without labels (test-dev).
            scores = {name: (metrics or {}).get("bbox") if bbox else metrics for name, metrics in results.items()}
            found.append((path, Path(content["weights"]), scores))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: {error} is missing or of a wrong type; evaluate again") from error
    return found


def _attach(runs: dict[Path, Run], path: Path, checkpoint: Path, scores: dict[str, dict]) -> None:
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
    iteration = _iteration(run, checkpoint)
    if iteration is not None and iteration < run.max_iterations:
        run.notes.append(f"{path.name} evaluates iteration {iteration:,} of {run.max_iterations:,}")
    elif run.finished:
        for reduction, metrics in scores.items():
            run.add_scores(reduction, metrics or {}, path)


def _training_folder(path: Path, checkpoint: Path) -> Path:
    """The folder of a checkpoint; a relative path is tried from here and from the folders above the evaluation."""
    for start in (Path(), *path.resolve().parents):
        if (start / checkpoint).parent.is_dir() and checkpoint.name:
            return (start / checkpoint).parent.resolve()
    return checkpoint.parent.resolve()


def _iteration(run: Run, checkpoint: Path) -> int | None:
    """How long the checkpoint trained, by its name; None for model_final.pth and other names."""
    found = ITERATION.search(checkpoint.name)
    if not found:
        return None
    return int(found[1]) + (run.framework == "detectron2")  # model_0000049.pth: 50 iterations
