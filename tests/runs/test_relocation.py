"""A run's folder may be moved or copied: its scores and checkpoints are its own."""

import json
import shutil

import pytest
import torch
from run_folders import box_scores, detectron2_run, mmengine_run, reductions

from ffc_dense.runs.files import within_run
from ffc_dense.runs.reading import read_runs

FRAMEWORKS = ["detectron2", "mmseg"]


def evaluated_run(folder, framework, record):
    """A run with an evaluation in a folder of its own, as the commands write it."""
    if framework == "detectron2":
        run, name, scores = detectron2_run(folder, ffc=True), "model_final.pth", box_scores(41.0)
    else:
        run, name, scores = mmengine_run(folder, ffc=True), "iter_40000.pth", {"mIoU": 71.0, "mAcc": 80.0, "aAcc": 95.0}
    (run / name).write_bytes(b"weights")
    results = {"vote": {"bbox": scores} if framework == "detectron2" else scores}
    place = reductions(run / f"eval_{name[:-4]}", framework, run / name, results)
    if record:
        content = json.loads((place / "reductions.json").read_text()) | within_run(run / name, place)
        (place / "reductions.json").write_text(json.dumps(content))
    return run


def score(run):
    (found,) = read_runs([run])
    return found.scores["vote"][found.framework.main_metric], found.folder


@pytest.mark.parametrize("record", [True, False], ids=["recorded", "written before"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_moved_run_keeps_its_scores(tmp_path, framework, record):
    run = evaluated_run(tmp_path / "a" / "run", framework, record)
    expected, _ = score(run)
    moved = tmp_path / "b" / ("renamed" if record else "run")
    moved.parent.mkdir()
    shutil.move(run, moved)
    assert score(moved) == (expected, moved)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_copied_runs_scores_are_its_own(tmp_path, framework):
    run = evaluated_run(tmp_path / "run", framework, True)
    copy = shutil.copytree(run, tmp_path / "copy")
    path = next(copy.glob("*/reductions.json"))
    path.write_text(path.read_text().replace("41.0", "12.0").replace("71.0", "12.0"))
    assert score(copy) == (12.0, copy)
    assert score(run)[0] != 12.0


def test_a_checkpoint_elsewhere_is_recorded_as_it_was_named(tmp_path):
    (tmp_path / "run" / "eval").mkdir(parents=True)
    assert within_run(tmp_path / "run" / "a.pth", tmp_path / "run" / "eval") == {"checkpoint": "../a.pth"}
    assert within_run(tmp_path / "run" / "a.pth?sha256=12", tmp_path / "run") == {"checkpoint": "a.pth"}
    assert within_run(tmp_path / "other" / "a.pth", tmp_path / "run" / "eval") == {}


def test_a_copied_folder_resumes_from_its_own_checkpoint(tmp_path):
    pytest.importorskip("mmengine")
    from ffc_dense.openmmlab.training.resuming import checkpoint_to_resume

    run = tmp_path / "run"
    run.mkdir()
    torch.save({"step": torch.ones(1)}, run / "iter_5.pth")
    (run / "last_checkpoint").write_text(str(run / "iter_5.pth"))
    copy = shutil.copytree(run, tmp_path / "copy")
    path, warning = checkpoint_to_resume(copy)
    assert path == str(copy / "iter_5.pth") and "of another folder" in warning
    assert checkpoint_to_resume(run) == (str(run / "iter_5.pth"), "")
    shutil.rmtree(run)
    assert checkpoint_to_resume(copy)[0] == str(copy / "iter_5.pth")
