"""Which checkpoint a training goes on from, and that both frameworks choose the same one."""

import re

import pytest
import torch

from ffc_dense.reliability.resuming import POINTER, NothingToResume, choose_checkpoint


def whole(path, iteration=1):
    torch.save({"trainer": {"iteration": iteration}}, path)
    return path


def damaged(path):
    path.write_bytes(b"PK")
    return path


def never():
    raise AssertionError("the candidates were looked at")
    yield


def test_a_whole_file_that_the_pointer_names_is_taken_whatever_else_there_is(tmp_path):
    named = whole(tmp_path / "a.pth")
    assert choose_checkpoint(tmp_path / POINTER, str(named), never()) == (str(named), "")


@pytest.mark.parametrize(
    ("named", "fault"), [("bad.pth", "names .*bad.pth, which is damaged"), ("gone.pth", "which is missing"),
                         ("", "is empty"), (None, "is missing")],
)  # fmt: skip
def test_else_the_first_whole_candidate_is_taken_with_a_warning_that_says_why(tmp_path, named, fault):
    damaged(tmp_path / "bad.pth")
    pointer = tmp_path / POINTER
    if named is not None:
        pointer.write_text(named)
    candidates = [damaged(tmp_path / "c.pth"), whole(tmp_path / "b.pth"), whole(tmp_path / "a.pth")]
    path, warning = choose_checkpoint(pointer, str(tmp_path / named) if named else "", iter(candidates))
    assert path == str(tmp_path / "b.pth") and f"going on from {path}" in warning
    assert re.search(fault, warning)


def test_nothing_saved_is_a_start_from_the_beginning_and_damaged_files_or_a_pointer_alone_are_not(tmp_path):
    pointer = tmp_path / POINTER
    assert choose_checkpoint(pointer, "", []) == (None, "")
    # Whole, and not of a training: weights that a user has put there.
    assert choose_checkpoint(pointer, "", [whole(tmp_path / "w.pth")], lambda path: False) == (None, "")
    with pytest.raises(NothingToResume, match=r"last_checkpoint is missing.* whole \(damaged: b\.pth\).*remove last"):
        choose_checkpoint(pointer, "", [damaged(tmp_path / "b.pth")])
    pointer.touch()
    with pytest.raises(NothingToResume, match=r"last_checkpoint is empty.* whole \(there is none\)"):
        choose_checkpoint(pointer, "", [])


@pytest.mark.parametrize("newest", ["whole", "damaged"])
@pytest.mark.parametrize("pointer", ["newest", "empty", "none"])
def test_both_frameworks_choose_the_same_checkpoint(tmp_path, newest, pointer):
    atomic = pytest.importorskip("ffc_dense.detection.training.atomic_checkpoint")
    openmmlab = pytest.importorskip("ffc_dense.openmmlab")
    found = {}
    for framework, name in (("detectron2", "model_{:07d}.pth"), ("mmengine", "iter_{}.pth")):
        folder = tmp_path / framework
        folder.mkdir()
        whole(folder / name.format(9), 9)
        last = folder / name.format(10)
        whole(last, 10) if newest == "whole" else damaged(last)
        if pointer != "none":
            text = {"newest": last.name if framework == "detectron2" else str(last), "empty": ""}[pointer]
            (folder / POINTER).write_text(text)
        if framework == "detectron2":
            path = atomic.AtomicCheckpointer(torch.nn.Linear(1, 1), str(folder))._to_resume()
        else:
            path, _ = openmmlab.checkpoint_to_resume(folder)
        found[framework] = "newest" if path == str(last) else path.replace(str(folder), "")
    expected = ("newest", "newest") if newest == "whole" else ("/model_0000009.pth", "/iter_9.pth")
    assert tuple(found.values()) == expected
