"""Checkpoints of segmentation trainings: kills, full disks, damaged files, and what a resumed run is equal to."""

import itertools
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from repository import ROOT

pytest.importorskip("mmseg")

import segmentation_runs
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import find_latest_checkpoint
from segmentation_runs import load, train

from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.reliability.saving import NonFiniteState, NotSaved, is_whole
from ffc_dense.segmentation import NothingToResume, RandomStateHook, checkpoint_to_resume

KILLED = ROOT / "tests" / "workers" / "killed_training.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 6, 2)
    segmentation_runs.write_config(folder)
    return folder


def assert_equal(first, second, where=""):
    """Bit for bit, tensors and all."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, (one, two) in enumerate(zip(first, second, strict=True)):
            assert_equal(one, two, f"{where}.{index}")
    else:
        assert first == second, where


def killed(folder, out, kills, *options):
    """What the worker prints of each start."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", KILLED, folder / "tiny.py", out, str(kills), "5", *options],
        capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1"), timeout=120 + 60 * kills,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("kills", [pytest.param(2, marks=pytest.mark.ci), pytest.param(50, marks=pytest.mark.slow)])
def test_a_training_killed_at_random_moments_resumes_and_loses_at_most_one_interval(folder, kills):
    out = folder / f"killed {kills}"
    starts = killed(folder, out, kills)
    assert len(starts) == kills + 1, (starts, (out / "log").read_text()[-3000:])
    assert starts[0]["start"] == 0
    interval = Config.fromfile(folder / "tiny.py").default_hooks.checkpoint.interval
    lost = [before["done"] - after["start"] for before, after in itertools.pairwise(starts)]
    in_write = sum(start["in_write"] for start in starts)
    print(f"{len(starts)} starts killed, {in_write} while a checkpoint was written; iterations lost: {sorted(lost)}")
    assert all(0 <= each <= interval for each in lost)
    assert in_write >= kills // 2 and starts[-1]["start"] >= (20 if kills == 50 else 0)
    assert len(list(out.glob("iter_*.pth"))) <= 2  # max_keep_ckpts=1, and the one that a kill left


@pytest.mark.slow
def test_mmengines_own_checkpoint_hook_does_not_go_on(folder):
    """It deletes the previous checkpoint before it writes the next one, and the pointer still names the former."""
    out = folder / "killed stock"
    starts = killed(folder, out, 5, "stock")
    assert len(starts) == 2 and starts[0]["in_write"] and starts[1]["start"] is None
    assert re.search(r"FileNotFoundError: .*iter_\d+\.pth can not be found", (out / "log").read_text())


def limited_file_size(limit: int):
    class Limit:
        def __enter__(self):
            self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, self.before[1]))

        def __exit__(self, *error):
            resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    return Limit()


def test_a_full_disk_stops_the_training_and_the_previous_checkpoints_resume(folder):
    """RLIMIT_FSIZE makes the write fail in its middle, as a full disk does."""
    out = folder / "full"
    options = dict(default_hooks__checkpoint__save_best="mIoU", train_cfg__val_interval=2)
    train(folder, "full", 2, **options)
    before = {path.name: path.read_bytes() for path in out.glob("*.pth")}
    assert set(before) == {"iter_2.pth", "best_mIoU_iter_2.pth"}
    with limited_file_size(len(before["iter_2.pth"]) // 2), pytest.raises(NotSaved) as error:
        train(folder, "full", 4, resume=True, **options)
    for part in (r"iter_4.pth was not written: File too large", r"MiB are free in", r"iter_2.pth is untouched"):
        assert part in str(error.value)
    assert {path.name: path.read_bytes() for path in out.glob("*.pth")} == before
    assert not list(out.glob("*.partial"))
    assert train(folder, "full", 4, resume=True, **options).iter == 4
    assert find_latest_checkpoint(str(out)) == str(out / "iter_4.pth") and not (out / "iter_2.pth").exists()


def test_the_previous_best_checkpoint_is_deleted_after_the_new_one_is_written(folder, monkeypatch):
    out = folder / "best"
    options = dict(default_hooks__checkpoint__save_best="mIoU", train_cfg__val_interval=2)
    train(folder, "best", 2, **options)
    old = out / "best_mIoU_iter_2.pth"
    message_hub = load(out / "iter_2.pth")["message_hub"]["runtime_info"]
    assert message_hub["best_ckpt"] == str(old)
    written = []
    monkeypatch.setattr(
        "ffc_dense.openmmlab.training.atomic_backend.write_bytes_atomically",
        lambda content, path, previous: (
            written.append((Path(path).name, old.exists())), Path(path).write_bytes(content)
        ),
    )  # fmt: skip
    # Any score is a new best one.
    monkeypatch.setattr(CheckpointHook, "rule_map", {"greater": lambda new, best: True})
    train(folder, "best", 4, resume=True, **options)
    assert written == [("iter_4.pth", True), ("best_mIoU_iter_4.pth", True), ("iter_4.pth", True)]
    assert not old.exists() and is_whole(out / "best_mIoU_iter_4.pth")


def test_weights_that_are_not_finite_are_not_saved(folder):
    out = folder / "nan"
    train(folder, "nan", 2)
    before = (out / "iter_2.pth").read_bytes()
    broken = dict(default_hooks__non_finite_loss__action="ignore", broken=dict(iterations=[3]))
    with pytest.raises(NonFiniteState, match=r"iter_4\.pth was not written: state_dict\.\S+.* NaN or infinity"):
        train(folder, "nan", 4, resume=True, **broken)
    assert (out / "iter_2.pth").read_bytes() == before and [*out.glob("iter_*")] == [out / "iter_2.pth"]
    assert find_latest_checkpoint(str(out)) == str(out / "iter_2.pth")


@pytest.mark.parametrize("fault", ["none", "empty", "missing", "damaged", "elsewhere"])
def test_resume_falls_back_to_the_newest_whole_file(tmp_path, fault):
    for number, name in enumerate(("iter_20.pth", "iter_100.pth", "iter_9.pth", "best_mIoU_iter_200.pth")):
        torch.save({"x": torch.randn(100)}, tmp_path / name)
        os.utime(tmp_path / name, (number, number))
    newest = tmp_path / "iter_100.pth"
    pointer = tmp_path / "last_checkpoint"
    if fault == "damaged":
        damaged = bytearray(newest.read_bytes())
        damaged[600] ^= 1
        newest.write_bytes(damaged)
    if fault != "missing":
        named = {"none": tmp_path / "iter_20.pth", "empty": "", "damaged": newest, "elsewhere": "moved/iter_100.pth"}
        pointer.write_text(str(named[fault]))
    path, warning = checkpoint_to_resume(tmp_path)
    if fault == "none":  # the pointer counts, although there is a newer file
        assert (path, warning) == (str(tmp_path / "iter_20.pth"), "")
        return
    assert path == str(tmp_path / ("iter_20.pth" if fault == "damaged" else "iter_100.pth"))
    assert path in warning
    assert {"empty": "is empty", "missing": "is missing", "damaged": "which is damaged",
            "elsewhere": "which is missing"}[fault] in warning  # fmt: skip


def test_nothing_saved_yet_starts_from_the_beginning_but_damaged_files_alone_are_an_error(tmp_path):
    assert checkpoint_to_resume(tmp_path) == (None, "")
    (tmp_path / "iter_2.pth.12345678.partial").write_bytes(b"half")
    assert checkpoint_to_resume(tmp_path) == (None, "")
    (tmp_path / "iter_2.pth").write_bytes(b"half")
    with pytest.raises(NothingToResume, match=r"last_checkpoint is missing.*iter_2\.pth.* damaged"):
        checkpoint_to_resume(tmp_path)
    (tmp_path / "iter_2.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("")
    with pytest.raises(NothingToResume, match=r"last_checkpoint is empty.*remove last_checkpoint"):
        checkpoint_to_resume(tmp_path)


@pytest.mark.slow
def test_mmengines_resume_takes_the_fallback(folder, caplog):
    """As mmseg's train.py calls it: the hook chooses before mmengine reads the pointer."""
    out = folder / "fallback"
    train(folder, "fallback", 4, default_hooks__checkpoint__max_keep_ckpts=2)
    (out / "last_checkpoint").write_text("")
    (out / "iter_4.pth").write_bytes((out / "iter_4.pth").read_bytes()[:-1000])
    runner = train(folder, "fallback", 3, resume=True)
    log = next(iter(sorted(out.glob("*/*.log"))[::-1])).read_text()
    assert "last_checkpoint is empty: going on from" in log and "resumed epoch: 0, iter: 2" in log
    assert runner.iter == 3 and is_whole(out / "iter_3.pth")


def saved(folder: Path, out: str, iteration: int) -> dict:
    checkpoint = load(folder / out / f"iter_{iteration}.pth")
    return {name: checkpoint[name] for name in ("state_dict", "optimizer", "param_schedulers")} | {
        "random_state": checkpoint["meta"]["random_state"]
    }


@pytest.mark.parametrize("seed", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_resumed_equals_uninterrupted_bit_for_bit(folder, seed, monkeypatch):
    """Random sizes, crops, flips, colours, dropout, AdamW, BatchNorm and a validation; also without a seed."""
    # Every iteration is saved: the uninterrupted run is the one whose checkpoint the other starts from.
    options = dict(randomness=dict(seed=seed), train_cfg__val_interval=2, default_hooks__checkpoint__interval=1,
                   default_hooks__checkpoint__max_keep_ckpts=10)  # fmt: skip
    whole, part = f"whole {seed}", f"part {seed}"
    train(folder, whole, 5, **options)
    (folder / part).mkdir()
    (folder / part / "iter_2.pth").write_bytes((folder / whole / "iter_2.pth").read_bytes())
    (folder / part / "last_checkpoint").write_text(str(folder / part / "iter_2.pth"))
    train(folder, part, 5, resume=True, **options)
    for iteration in (3, 5):
        assert_equal(saved(folder, whole, iteration), saved(folder, part, iteration))
    if seed is None:
        return
    # mmengine alone differs: the test sees what the hook adds.
    monkeypatch.setattr(RandomStateHook, "before_train_epoch", lambda self, runner: None)
    (folder / part / "last_checkpoint").write_text(str(folder / part / "iter_2.pth"))
    train(folder, part, 3, resume=True, **options)
    first, second = (saved(folder, out, 3)["state_dict"] for out in (whole, part))
    assert any(not torch.equal(first[name], second[name]) for name in first)
