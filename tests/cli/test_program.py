"""``ffc-dense``: its grammar, its help, and whom a command is handed to. tests/test_wheel.py runs the commands."""

import importlib
import sys

import pytest
from repository import ROOT

from ffc_dense.cli import shipped_configs
from ffc_dense.cli.__main__ import COMMANDS, main
from ffc_dense.frameworks import FRAMEWORKS

CONFIGS = ROOT / "configs"
YAML = "mini_coco/faster_rcnn_R_18_FPN_ffc.yaml"
LAZY = "coco/faster_rcnn_R_50_FPN_1x_ffc.py"
MMSEG = "mini_cityscapes/pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"


@pytest.fixture
def run(capsys, monkeypatch):
    """(exit code, stdout, stderr) of ``ffc-dense ARGS``."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))

    def run_program(*args):
        code = 0
        try:
            main([str(arg) for arg in args])
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return run_program


@pytest.mark.parametrize(
    ("args", "module", "argv"),
    [
        (["train", YAML, "--resume", "SEED", "1"], "detection.commands.train",
         ["--config-file", CONFIGS / YAML, "--resume", "SEED", "1"]),
        (["train", LAZY, "train.max_iter=1"], "detection.commands.train_lazy",
         ["--config-file", CONFIGS / LAZY, "train.max_iter=1"]),
        (["train", MMSEG, "--resume", "--device", "cpu"], "openmmlab.commands.scripts",
         ["--device", "cpu", "train", CONFIGS / MMSEG, "--resume"]),
        (["evaluate", YAML, "m.pth", "--reduce", "all", "SEED", "1"], "detection.commands.evaluate",
         ["--config-file", CONFIGS / YAML, "--reduce", "all", "SEED", "1", "MODEL.WEIGHTS", "m.pth"]),
        (["evaluate", YAML, "--help"], "detection.commands.evaluate", ["--config-file", CONFIGS / YAML, "--help"]),
        (["evaluate", MMSEG, "m.pth", "--reduce", "all"], "segmentation.commands.evaluate",
         [CONFIGS / MMSEG, "m.pth", "--reduce", "all"]),
        (["predict", YAML, "m.pth", "--input", "a"], "detection.commands.predict",
         ["--config-file", CONFIGS / YAML, "--weights", "m.pth", "--input", "a"]),
        (["predict", MMSEG, "m.pth", "--input", "a"], "segmentation.commands.predict",
         [CONFIGS / MMSEG, "m.pth", "--input", "a"]),
        (["analyze", YAML, "m.pth", "SEED", "1"], "cli.analyze", [CONFIGS / YAML, "m.pth", "SEED", "1"]),
        (["convert", "a.pth", "--backbone", "toolbox", "b.pth"], "segmentation.commands.convert_toolbox_resnet",
         ["a.pth", "b.pth"]),
        (["convert", "a.pth", "b.safetensors"], "cli.convert", ["a.pth", "b.safetensors"]),
        (["tables", "a", "b"], "cli.tables", ["a", "b"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_command_is_handed_to_the_adapter_of_its_config(run, monkeypatch, args, module, argv):
    for package in ("detectron2", "mmseg"):
        pytest.importorskip(package)
    calls = []
    monkeypatch.setattr(importlib.import_module(f"ffc_dense.{module}"), "command", calls.append)
    code, _, err = run(*args)
    assert (code, err) == (0, "") and calls == [[str(each) for each in argv]]
    assert sys.argv[0] == f"ffc-dense {args[0]}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0 and f"usage: ffc-dense {name} " in out
    assert f"ffc-dense {COMMANDS[name].example}" in out.partition("example:")[2]
    if COMMANDS[name].takes_config:
        example = COMMANDS[name].example.split()
        assert shipped_configs.config_path(example[1]).is_file()


def test_without_a_command_the_overview_lists_every_one(run):
    code, out, _ = run()
    assert code == 2 and all(f"  {name} " in out for name in COMMANDS)
    assert run("--help") == (0, out, "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["trian"], "ffc-dense: error: trian: no such command; did you mean train?"),
        (["train"], "the config comes first: ffc-dense train CONFIG"),
        (["evaluate", "--reduce", "all"], "the config comes first: ffc-dense evaluate CONFIG CHECKPOINT"),
        (["train", "mini_coco/faster_rcnn_R_18_FPN_fcc.yaml"], f"the closest shipped configs are {YAML}"),
        (["convert", "a", "b", "--backbone", "x"], "--backbone: expected torchvision or toolbox, got 'x'"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_names_the_remedy(run, args, said):
    code, out, err = run(*args)
    assert code == 2 and out == "" and said in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(("config", "row"), [(YAML, FRAMEWORKS[0]), (MMSEG, FRAMEWORKS[1])])
def test_a_missing_framework_is_one_line_with_what_to_install(run, monkeypatch, config, row):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == row.package else found(name))
    code, _, err = run("train", config)
    assert code == 2 and err == f"ffc-dense: error: {row.title} is not installed: {row.install}\n"


def test_errors_of_a_command_name_the_program(run, tmp_path):
    pytest.importorskip("detectron2")
    code, _, err = run("train", YAML, "MODEL.ROI_BOX_HEAD.FFC.NUM_FILTER", "2")
    assert code == 2 and err.splitlines()[-1].startswith("ffc-dense train: error: MODEL.ROI_BOX_HEAD.FFC.NUM_FILTER in")


def test_an_existing_file_wins_over_a_shipped_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_configs.config_path(YAML) == CONFIGS / YAML == shipped_configs.config_path(f"configs/{YAML}")
    (tmp_path / "mini_coco").mkdir()
    (tmp_path / YAML).write_text("")
    assert shipped_configs.config_path(YAML).samefile(tmp_path / YAML)


def test_every_config_that_trains_is_listed():
    listed = shipped_configs.shipped()
    assert YAML in listed and LAZY in listed and MMSEG in listed
    assert not [name for name in listed if "_base_" in name or "/Base-" in name]
