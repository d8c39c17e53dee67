"""Mistakes that are told in one line, with nothing of other packages around it."""

import os
import subprocess
import sys

import pytest
from repository import ROOT
from tools_in_process import run_tool

CONFIGS = ROOT / "configs"
YAML = CONFIGS / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
LAZY = CONFIGS / "coco" / "faster_rcnn_R_50_FPN_1x_ffc.py"
PSP = CONFIGS / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"


@pytest.mark.parametrize(("config", "tool"), [(YAML, "train_net.py"), (LAZY, "lazyconfig_train_net.py")])
@pytest.mark.parametrize("command", [["mmseg_tool", "train"], ["eval_cityscapes"]])
def test_a_detectron2_config_in_an_mmseg_tool_is_told_whose_it_is(command, config, tool):
    pytest.importorskip("mmseg")
    name, *arguments = command
    code, _, said = run_tool(name, *arguments, config, *["x.pth"] * (name == "eval_cityscapes"))
    assert code == 2 and f"{config} is a config of detectron2: train it with `ffc-dense train` or tools/{tool}" in said


@pytest.mark.parametrize("place", ["/proc/none.onnx", "/"])
def test_an_export_that_cannot_be_written_is_told_before_the_model_is_built(place, tmp_path):
    (tmp_path / "x.pth").write_bytes(b"")
    code, _, said = run_tool("export_model", PSP, tmp_path / "x.pth", "--output", place)
    assert code == 2 and "--output: " in said and ("cannot be written" in said or "is a folder" in said)


TOOLS = {
    "mmseg": ["eval_cityscapes.py", "gone.py", "x.pth"],
    "detectron2": ["train_net.py", "--config-file", "gone.yaml"],
}


@pytest.mark.parametrize("package", TOOLS)
def test_nothing_stands_around_a_one_line_error(package, tmp_path):
    pytest.importorskip(package)
    name, *arguments = TOOLS[package]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    command = [sys.executable, ROOT / "tools" / name, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    said = [line for line in (done.stdout + done.stderr).splitlines() if "no CUDA on this machine" not in line]
    assert len(said) == 1 and said[0].startswith(f"{name}: error: "), said
