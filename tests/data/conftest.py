"""Small real datasets to damage, and the tool to run on them."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from ffc_dense.data import KINDS

from repository import ROOT as REPO


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    from ffc_dense.minidata import make_mini_cityscapes, make_mini_coco, make_mini_imagenet

    root = tmp_path_factory.mktemp("datasets")
    return {
        "coco": make_mini_coco(root / "mini_coco", num_train=6, num_val=3),
        "cityscapes": make_mini_cityscapes(root / "mini_cityscapes", num_train=6, num_val=3),
        "imagenet": make_mini_imagenet(root / "mini_imagenet", num_train=2, num_val=1),
    }


@pytest.fixture
def coco(originals, tmp_path):
    return Path(shutil.copytree(originals["coco"], tmp_path / "mini_coco"))


@pytest.fixture
def cityscapes(originals, tmp_path):
    return Path(shutil.copytree(originals["cityscapes"], tmp_path / "mini_cityscapes"))


@pytest.fixture
def imagenet(originals, tmp_path):
    return Path(shutil.copytree(originals["imagenet"], tmp_path / "mini_imagenet"))


@pytest.fixture(scope="session")
def tool():
    """The module tools/check_dataset.py."""
    return importlib.import_module("ffc_dense.cli.check_data")


@pytest.fixture
def run(tool, capsys):
    """Run the tool; returns (exit code, lines of faults, notes, summary)."""

    def run_tool(*arguments):
        code = tool.main([str(argument) for argument in arguments])
        lines = capsys.readouterr().out.splitlines()
        faults = [line for line in lines if line.startswith(("error: ", "warning: "))]
        notes = [line for line in lines if line.startswith("note: ")]
        assert len(faults) + len(notes) + 1 == len(lines)
        return code, faults, notes, lines[-1]

    return run_tool


@pytest.fixture
def only_fault():
    """Assert that a run found one fault, with the severity of its kind, and the exit code that belongs to it."""

    def check(result, kind, path, message, remedy):
        code, faults, _, summary = result
        severity = KINDS[kind][0]
        assert len(faults) == 1, faults
        assert faults[0].startswith(f"{severity}: {path}: ")
        assert faults[0].endswith(f" [{kind}]")
        assert re.search(message, faults[0]) and re.search(remedy, faults[0])
        assert code == (1 if severity == "error" else 0)
        assert summary.startswith("faulty: 1 error, 0 warnings" if severity == "error" else "ok: 0 errors, 1 warning ")

    return check
