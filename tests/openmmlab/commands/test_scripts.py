"""tools/mmseg_tool.py: which script runs, and what ``train --resume`` starts from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

pytest.importorskip("mmengine")

from mmengine.config import Config

SCRIPT = ROOT / "tools" / "mmseg_tool.py"


@pytest.fixture
def tool():
    from ffc_dense.openmmlab.commands import scripts

    return scripts


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plain.py").write_text("load_from = None\n")
    Path("warm.py").write_text("load_from = 'stock.pth'\n")
    Path("placed.py").write_text("load_from = 'stock.pth'\nwork_dir = 'placed'\n")
    return tmp_path


def parsed(tool, args: list[str]):
    known = tool.parse_tool_args(args)
    cfg = Config.fromfile(known.config)
    cfg.merge_from_dict(known.cfg_options or {})
    return known, cfg


def resume_or_load(tool, args: list[str]) -> list[str]:
    return tool.resume_or_load(args, *parsed(tool, args))


def why_not_joined(tool, device: str, args: list[str]) -> str:
    known, cfg = parsed(tool, args)
    return tool.why_not_joined(device, known.config, cfg)


def checkpoint(folder: str) -> None:
    Path(folder).mkdir(parents=True)
    Path(folder, "last_checkpoint").write_text(f"{folder}/iter_4.pth")


def test_without_the_pointer_a_checkpoint_counts_where_our_hook_resumes_from_it(tool, here):
    args = ["warm.py", "--resume"]
    Path("work_dirs/warm").mkdir(parents=True)
    Path("work_dirs/warm/iter_4.pth.0a1b2c3d.partial").touch()
    Path("work_dirs/warm/best_mIoU_iter_4.pth").touch()
    hook = "default_hooks = dict(checkpoint=dict(type='{}', by_epoch=False))\n"
    Path("warm.py").write_text("load_from = 'stock.pth'\n" + hook.format("AtomicCheckpointHook"))
    assert resume_or_load(tool, args) == ["warm.py"]
    Path("work_dirs/warm/iter_4.pth").touch()
    assert resume_or_load(tool, args) == [*args, *NOTHING_LOADED]
    # mmengine's own hook looks at the pointer alone, and would start from random weights.
    Path("warm.py").write_text("load_from = 'stock.pth'\n" + hook.format("CheckpointHook"))
    assert resume_or_load(tool, args) == ["warm.py"]


NOTHING_LOADED = ["--cfg-options", "load_from=None"]


def test_arguments_stay_without_resume_or_without_load_from(tool, here):
    for args in (["warm.py"], ["warm.py", "--launcher", "pytorch"], ["plain.py", "--resume"]):
        assert resume_or_load(tool, args) == args
    checkpoint("work_dirs/plain")
    assert resume_or_load(tool, ["plain.py", "--resume"]) == ["plain.py", "--resume"]


def test_a_first_start_loads_and_a_restart_resumes(tool, here):
    args = ["warm.py", "--launcher", "pytorch", "--work-dir", "a b", "--resume", "--cfg-options", "x=1"]
    assert resume_or_load(tool, args) == [arg for arg in args if arg != "--resume"]
    checkpoint("a b")
    assert resume_or_load(tool, args) == [*args, *NOTHING_LOADED]


@pytest.mark.parametrize(
    ("config", "options", "folder"),
    [
        ("warm.py", [], "work_dirs/warm"),
        ("placed.py", [], "placed"),
        ("placed.py", ["--cfg-options", "work_dir=chosen"], "chosen"),
        ("plain.py", ["--cfg-options", "load_from=given.pth"], "work_dirs/plain"),
    ],
)
def test_the_work_directory_is_the_one_that_train_py_takes(tool, here, config, options, folder):
    args = [config, "--resume", *options]
    assert "--resume" not in resume_or_load(tool, args)
    checkpoint(folder)
    assert resume_or_load(tool, args) == [*args, *NOTHING_LOADED]


def test_the_last_load_from_on_the_command_line_counts(tool, here):
    """The answer is appended to the user's own --cfg-options: mmengine has to merge them in this order."""
    from mmengine.config import DictAction

    parser = tool.argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    parsed = parser.parse_args(["--cfg-options", "load_from=given.pth", "a.b=1", *NOTHING_LOADED]).cfg_options
    assert parsed == {"load_from": None, "a.b": 1}


def test_the_config_is_read_once(tool, here, monkeypatch):
    read, fromfile, runs = [], Config.fromfile, []
    monkeypatch.setattr(Config, "fromfile", lambda path, *args, **kw: read.append(path) or fromfile(path, *args, **kw))
    monkeypatch.setattr(tool, "run", lambda *arguments: runs.append(arguments))
    monkeypatch.setattr(tool, "join_on_cpu", lambda: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    Path("stock.pth").touch()
    with open("warm.py", "a") as file:
        file.write("model = dict()\n")
    tool.main(["--device", "cpu", "train", "warm.py", "--resume"])
    assert read == ["warm.py"]
    [(_, args, cfg, _)] = runs
    assert args == ["warm.py", "--cfg-options", *tool.DDP_ON_CPU] and cfg.load_from == "stock.pth"


def test_the_tools_of_a_package_and_of_a_clone_are_found(tool, tmp_path, monkeypatch):
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path / "clone" / "mmseg")]})
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(FileNotFoundError, match=r"came without tools/train\.py"):
        tool.find_tool("train")
    for folder in (tmp_path / "clone" / "tools", tmp_path / "clone" / "mmseg" / ".mim" / "tools"):
        folder.mkdir(parents=True)
        (folder / "train.py").touch()
        assert tool.find_tool("train") == str(folder / "train.py")


def test_the_script_is_that_of_the_config_s_framework(tool, here):
    Path("classifier.py").write_text("_base_ = './runtime.py'\n")
    Path("runtime.py").write_text("default_scope = 'mmpretrain'\n")
    chosen = {
        ("plain.py",): "mmseg",
        ("classifier.py", "--work-dir", "x"): "mmpretrain",
        ("--work-dir", "x", "classifier.py"): "mmpretrain",
        ("--help",): "mmseg",
        ("gone.py",): "mmseg",
    }
    assert {args: tool.framework_of([*args]).name for args in chosen} == chosen
    pytest.importorskip("mmpretrain")
    assert "mmpretrain" in tool.find_tool("train", tool.framework_of(["classifier.py"]))


def test_a_checkpoint_that_mmpretrain_is_told_to_resume_is_kept(tool, here):
    checkpoint("work_dirs/warm")
    args = ["warm.py", "--resume", "other/epoch_3.pth"]
    assert resume_or_load(tool, args) == args
    assert resume_or_load(tool, ["warm.py", "--resume", "--amp"]) == ["warm.py", "--resume", "--amp", *NOTHING_LOADED]


def test_without_mmseg_it_says_what_to_install(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['mmseg'] = None\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, str(SCRIPT), "train", "x.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "mmseg is not installed: pip install" in done.stderr


def test_processes_that_cannot_be_joined_are_told_so(tool, here, monkeypatch):
    Path("sync.py").write_text("model = dict(norm_cfg=dict(type='SyncBN'))\n")
    Path("plain_bn.py").write_text("model = dict(norm_cfg=dict(type='BN'))\n")
    assert "sync.py has SyncBN" in why_not_joined(tool, "cpu", ["sync.py", "--launcher", "pytorch"])
    assert why_not_joined(tool, "cpu", ["sync.py", "--cfg-options", "model.norm_cfg.type=BN"]) == ""
    assert why_not_joined(tool, "cpu", ["plain_bn.py"]) == ""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "DEVICE=cpu" in why_not_joined(tool, "cuda", ["plain_bn.py"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert why_not_joined(tool, "cuda", ["sync.py"]) == ""
