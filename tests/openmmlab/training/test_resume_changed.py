"""A resumption with another model or optimizer names the keys that were changed, and leaves the run as it was."""

import shutil
from pathlib import Path

import pytest
from tools_in_process import run_tool

pytest.importorskip("mmseg")

from segmentation_runs import train, write_config

from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.reliability.resuming import CannotResume

HEAD = "model__decode_head__"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a training of two iterations."""
    folder = tmp_path_factory.mktemp("changed")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 2, 1)
    write_config(folder)
    train(folder, "run", 2)
    return folder


@pytest.mark.parametrize(("changes", "said"), [
    ({f"{HEAD}num_filters": 2}, ["model.decode_head.num_filters was not set, is 2", "filters.2"]),
    ({f"{HEAD}num_filters": 4}, ["model.decode_head.num_filters was not set, is 4", "filters.3"]),
    ({f"{HEAD}type": "PSPHead"}, ["model.decode_head.type was 'FFCPSPHead', is 'PSPHead'", "filters.0"]),
    ({f"{HEAD}channels": 4}, ["model.decode_head.channels was 8, is 4"]),
    ({"optim_wrapper__optimizer": dict(type="SGD", lr=0.001, _delete_=True)},
     ["optim_wrapper.optimizer.type was 'AdamW', is 'SGD'", "another optimizer than SGD"]),
])  # fmt: skip
def test_the_changed_keys_are_named(folder, changes, said):
    with pytest.raises(CannotResume, match=r"--resume: .*iter_2\.pth is of a training with other settings") as refused:
        train(folder, "run", 4, resume=True, **changes)
    assert all(words in str(refused.value) for words in said)


def test_what_does_not_change_the_model_may_change(folder):
    shutil.copytree(folder / "run", folder / "other")
    changes = {f"{HEAD}test_reduce": "mean", "optim_wrapper__optimizer__lr": 0.001}
    assert train(folder, "other", 3, resume=True, **changes).iter == 3


def test_a_refusal_leaves_the_config_of_the_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    before = Path("run/tiny.py").read_bytes()
    options = ["model.decode_head.num_filters=2", "default_hooks.preemption.interval=0", "train_cfg.max_iters=4"]
    code, _, err = run_tool(
        "mmseg_tool", "train", "tiny.py", "--work-dir", "run", "--resume", "--cfg-options", *options
    )
    assert code == 2 and "num_filters was not set, is 2" in err.splitlines()[-1]
    assert Path("run/tiny.py").read_bytes() == before


@pytest.mark.parametrize("tool", ["mmseg_tool", "eval_cityscapes", "analyze_outputs"])
def test_an_evaluation_with_an_override_changes_no_file_of_the_run(folder, tmp_path, monkeypatch, tool):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    run = shutil.copytree(folder / "run", tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = {
        "mmseg_tool": ["test", "tiny.py", run / "iter_2.pth", "--work-dir", run],
        "eval_cityscapes": ["tiny.py", run / "iter_2.pth", "--output", run, "--no-png"],
        "analyze_outputs": ["tiny.py", run / "iter_2.pth", "--output", run],
    }[tool]
    code, _, err = run_tool(tool, *arguments, "--cfg-options", "model.decode_head.test_reduce=mean")
    assert code == 0, err[-2000:]
    assert {path: path.read_bytes() for path in before} == before
