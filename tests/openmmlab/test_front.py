"""The hooks on mmengine alone, their names in every scope, and what the package's import changes and does not."""

import os
import subprocess
import sys

import pytest
import torch
from repository import ROOT

pytest.importorskip("mmengine")

from mmengine.fileio import handlers
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader

import ffc_dense.openmmlab as front
from ffc_dense.openmmlab.inputs import safe_readers

ABSENT = "mmseg mmcv mmpretrain detectron2"
OURS = [name for name in front.__all__ if name.endswith("Hook")]


def run(*args, absent: str = "") -> subprocess.CompletedProcess:
    paths = [str(ROOT / "tests/matrix/absent"), os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)), ABSENT_PACKAGES=absent)
    command = [sys.executable, "-W", "ignore", *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def trained(folder, iterations, *resume) -> list[float]:
    done = run(ROOT / "tests/workers/mmengine_alone.py", folder, iterations, *resume, absent=ABSENT)
    assert done.returncode == 0, done.stderr[-3000:]
    return [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("drawn ")]


def test_the_hooks_train_and_resume_where_mmengine_is_alone(tmp_path):
    """With the random numbers and the weights of an uninterrupted training."""
    first, rest = trained(tmp_path / "part", 2), trained(tmp_path / "part", 4, "resume")
    assert first + rest == trained(tmp_path / "whole", 4) and len(set(first + rest)) == 4
    part, whole = (
        torch.load(tmp_path / name / "iter_4.pth", weights_only=False)["state_dict"] for name in ("part", "whole")
    )
    assert all(torch.equal(part[key], whole[key]) for key in whole)
    assert {path.name for path in (tmp_path / "part").glob("*.pth")} == {f"iter_{i}.pth" for i in range(1, 5)}


@pytest.mark.parametrize("name", OURS)
def test_each_hook_has_its_name_in_mmengine_s_scope_and_in_each_framework_s(name):
    hook = getattr(front, name)
    assert issubclass(hook, Hook) and HOOKS.get(name) is hook and HOOKS.get(f"mmengine.{name}") is hook
    pytest.importorskip("mmseg")
    from mmseg.registry import HOOKS as OF_MMSEG

    import ffc_dense.segmentation  # noqa: F401

    assert OF_MMSEG.get(name) is hook and HOOKS.get(f"mmseg.{name}") is hook and OF_MMSEG.get(f"mmseg.{name}") is hook
    with DefaultScope.overwrite_default_scope("mmseg"):
        assert HOOKS.get(name) is hook


def test_importing_the_package_changes_nothing_in_mmengine_and_the_documented_modules_do():
    code = """
from mmengine.fileio import handlers
from mmengine.runner.checkpoint import CheckpointLoader
def state():
    return dict(CheckpointLoader._schemes), dict(handlers.file_handlers)
before = state()
import ffc_dense.openmmlab
assert state() == before
import {module}
assert state() != before and state()[0][''].__module__ == 'ffc_dense.openmmlab.inputs.safe_readers'
"""
    modules = ["ffc_dense.openmmlab.inputs.safe_loading"]
    try:
        import mmseg  # noqa: F401

        modules.append("ffc_dense.segmentation.safe_loading")
    except ModuleNotFoundError:
        pass
    for module in modules:
        done = run("-c", code.format(module=module))
        assert done.returncode == 0, done.stderr[-3000:]


def test_installing_twice_is_installing_once():
    def state():
        return dict(CheckpointLoader._schemes), {name: type(each) for name, each in handlers.file_handlers.items()}

    front.install()
    once = state()
    front.install()
    assert state() == once
    assert CheckpointLoader._schemes["pavi://"] is safe_readers.refuse_scheme
