"""tools/mmseg_tool.py: which script runs, and what ``train --resume`` starts from."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mmengine")

SCRIPT = Path(__file__).parent.parent / "tools" / "mmseg_tool.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("mmseg_tool", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plain.py").write_text("load_from = None\n")
    Path("warm.py").write_text("load_from = 'stock.pth'\n")
    Path("placed.py").write_text("load_from = 'stock.pth'\nwork_dir = 'placed'\n")
    return tmp_path


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
    assert tool.resume_or_load(args) == ["warm.py"]
    Path("work_dirs/warm/iter_4.pth").touch()
    assert tool.resume_or_load(args) == [*args, *NOTHING_LOADED]
    # mmengine's own hook looks at the pointer alone, and would start from random weights.
    Path("warm.py").write_text("load_from = 'stock.pth'\n" + hook.format("CheckpointHook"))
    assert tool.resume_or_load(args) == ["warm.py"]


NOTHING_LOADED = ["--cfg-options", "load_from=None"]


def test_arguments_stay_without_resume_or_without_load_from(tool, here):
    for args in (["warm.py"], ["warm.py", "--launcher", "pytorch"], ["plain.py", "--resume"]):
        assert tool.resume_or_load(args) == args
    checkpoint("work_dirs/plain")
    assert tool.resume_or_load(["plain.py", "--resume"]) == ["plain.py", "--resume"]


def test_a_first_start_loads_and_a_restart_resumes(tool, here):
    args = ["warm.py", "--launcher", "pytorch", "--work-dir", "a b", "--resume", "--cfg-options", "x=1"]
    assert tool.resume_or_load(args) == [arg for arg in args if arg != "--resume"]
    checkpoint("a b")
    assert tool.resume_or_load(args) == [*args, *NOTHING_LOADED]


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
    assert "--resume" not in tool.resume_or_load(args)
    checkpoint(folder)
    assert tool.resume_or_load(args) == [*args, *NOTHING_LOADED]


def test_the_last_load_from_on_the_command_line_counts(tool, here):
    """The answer is appended to the user's own --cfg-options: mmengine has to merge them in this order."""
    from mmengine.config import DictAction

    parser = tool.argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    parsed = parser.parse_args(["--cfg-options", "load_from=given.pth", "a.b=1", *NOTHING_LOADED]).cfg_options
    assert parsed == {"load_from": None, "a.b": 1}


def test_the_tools_of_a_package_and_of_a_clone_are_found(tool, tmp_path, monkeypatch):
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path / "clone" / "mmseg")]})
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(FileNotFoundError, match=r"came without tools/train\.py"):
        tool.find_tool("train")
    for folder in (tmp_path / "clone" / "tools", tmp_path / "clone" / "mmseg" / ".mim" / "tools"):
        folder.mkdir(parents=True)
        (folder / "train.py").touch()
        assert tool.find_tool("train") == str(folder / "train.py")


def test_without_mmseg_it_says_what_to_install(tmp_path):
    done = subprocess.run([sys.executable, "-I", "-S", str(SCRIPT), "train", "x.py"], capture_output=True, text=True)
    assert done.returncode == 2 and "mmseg is not installed: pip install" in done.stderr


def test_processes_that_cannot_be_joined_are_told_so(tool, here, monkeypatch):
    Path("sync.py").write_text("model = dict(norm_cfg=dict(type='SyncBN'))\n")
    Path("plain_bn.py").write_text("model = dict(norm_cfg=dict(type='BN'))\n")
    assert "sync.py has SyncBN" in tool.why_not_joined("cpu", ["sync.py", "--launcher", "pytorch"])
    assert tool.why_not_joined("cpu", ["sync.py", "--cfg-options", "model.norm_cfg.type=BN"]) == ""
    assert tool.why_not_joined("cpu", ["plain_bn.py"]) == ""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "DEVICE=cpu" in tool.why_not_joined("cuda", ["plain_bn.py"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert tool.why_not_joined("cuda", ["sync.py"]) == ""
