"""The how-to pages: their configs and commands exist, and their commands run on the checkpoints of a short demo."""

import os
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from repository import ROOT

from ffc_dense.cli.__main__ import COMMANDS
from ffc_dense.cli.shipped_configs import folder, shipped
from ffc_dense.paper.systems import SYSTEMS, stock_name
from ffc_dense.reliability.non_finite import ACTIONS, NonFiniteRule

HOWTO = ROOT / "docs/how-to"
PAGES = ("evaluate", "outputs", "log", "compare-runs", "export", "cluster", "resume", "video", "reproduce")
RUN = ("evaluate", "outputs", "compare-runs", "export")  # on the demo; video's: tests/video/test_streams.py
MODEL_ZOO = (ROOT / "docs/reference/model-zoo.md").read_text()


def text(page: str) -> str:
    return (HOWTO / f"{page}.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text(page), re.DOTALL)


def expanded(pattern: str) -> list[str]:
    """``a[-b]{c,d}`` -> ac, ad, a-bc, a-bd."""
    parts = re.split(r"(\[[^]]*\]|\{[^}]*\})", pattern)
    choices = [
        ("", part[1:-1]) if part[:1] == "[" else part[1:-1].split(",") if part[:1] == "{" else (part,) for part in parts
    ]
    return ["".join(each) for each in product(*choices)]


def rows_of_the_tables() -> list[tuple[str, list[str], str, str, str]]:
    """(what of the paper, configs, GPUs, checkpoint, GPU-hours)"""
    lines = [line.strip("| ").split(" | ") for line in text("reproduce").splitlines() if line.startswith("| ")]
    rows = [line for line in lines if len(line) == 6 and line[1].startswith("`")]
    return [(line[0], expanded(line[1].split("`")[1]), line[2], line[3].strip("`"), line[5]) for line in rows]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_exist(page):
    code = "\n".join([*re.findall(r"`(ffc-dense [^`]*)`", text(page)), *re.findall(r"(?s)```.*?```", text(page))])
    assert set(re.findall(r"ffc-dense ([a-z][a-z-]*)", code)) <= set(COMMANDS)
    for name in re.findall(r"\b(?:tools|tests|configs)/[\w/.-]+\w", text(page)):
        assert "CONFIG" in name or (ROOT / name).exists(), name
    for name in re.findall(r"(?<![\w/])((?:coco|mini_\w+|cityscapes|imagenet|hmdb51)/[\w.-]+\.(?:py|yaml))", code):
        assert name in shipped(), name


def test_every_experiment_of_the_paper_has_a_row_with_its_configs():
    named = {Path(config).stem for _, configs, *_ in rows_of_the_tables() for config in configs}
    assert all((folder() / config).is_file() for _, configs, *_ in rows_of_the_tables() for config in configs)
    assert {stock_name(name) for name in named} >= {system.config for system in SYSTEMS}
    ffc = {stock_name(name) for name in named if stock_name(name) != name}
    assert ffc >= {system.config for system in SYSTEMS if system.ffc}


@pytest.mark.parametrize("row", rows_of_the_tables(), ids=lambda row: row[0])
def test_a_row_has_the_gpus_length_and_cost_of_its_configs(row):
    title, configs, gpus, checkpoint, hours = row
    systems, total = {system.config: system for system in SYSTEMS}, 0
    for config in configs:
        name = Path(config).stem
        (listed,) = re.findall(rf"^\| \[{name}(?:\.\w+)?\]\(\S*{config}\).*$", MODEL_ZOO, re.MULTILINE)
        assert listed.strip("| `").split()[-1] == gpus
        total += int(re.search(r"about (\d+) GPU-hours", listed)[1])
        system = systems.get(stock_name(name))
        if system and re.search(r"_(\d+)\.pth", checkpoint):
            assert checkpoint.endswith(f"_{system.iterations}.pth")
    assert int(hours) == total * (1 + ("two models" in title))


def test_the_actions_of_the_page_are_those_of_the_code():
    rows = re.findall(r"^\| `(\w+)`( \(default\))? \|", text("resume"), re.MULTILINE)
    assert [name for name, _ in rows] == list(ACTIONS)
    assert [name for name, default in rows if default] == [NonFiniteRule().action]


def test_settings_in_python_are_valid():
    for block in blocks("log", "python"):
        exec(compile(block, "log.md", "exec"), {})


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A clone in which `make demo` has run, briefly."""
    for package in ("detectron2", "mmseg", "mmpretrain"):
        pytest.importorskip(package)
    clone = tmp_path_factory.mktemp("clone")
    for name in ("configs", "tools"):
        (clone / name).symlink_to(ROOT / name)
    few = ["--detection-iterations=1", "--segmentation-iterations=3", "--classification-iterations=3"]
    run(clone, f"python tools/demo.py {' '.join(few)} --num-train=4 --num-val=4")
    work = clone / "work_dirs/demo"
    shutil.copy(work / "faster_rcnn_ffc/model_final.pth", work / "faster_rcnn_ffc/model_0000199.pth")
    shutil.copy(work / "pspnet_ffc/iter_3.pth", work / "pspnet_ffc/iter_2.pth")
    return clone


SHORTER = {
    "iter_400": "iter_3",
    "iter_504": "iter_3",
    "iter_300": "iter_2",
    "000000500013": "000000500001",
    "onnx torchscript torch_export": "onnx",
    "in vote mean": "in vote",
}


def run(clone, script):
    for old, new in SHORTER.items():
        script = script.replace(old, new)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = dict(os.environ, PATH=path, PYTHONWARNINGS="ignore", DETECTRON2_DATASETS="/nowhere")
    done = subprocess.run(
        ["bash", "-ec", script], cwd=clone, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(demo, page):
    out = run(demo, "".join(blocks(page, "bash")))
    if page == "evaluate":
        assert all(f"| {name} |" in out for name in ("vote", "mean", *(f"out{i}" for i in range(1, 8))))
    if page == "export":
        assert (demo / "work_dirs/detector.vote.onnx").is_file() and (demo / "work_dirs/segmentor.vote.onnx").is_file()
    if page == "compare-runs":
        assert (demo / "results.png").is_file() and (demo / "work_dirs/ensemble/pspnet/ensemble.json").is_file()


@pytest.mark.slow
def test_the_python_of_the_pages_reads_the_demo(demo, monkeypatch, capsys):
    monkeypatch.chdir(demo)
    monkeypatch.setenv("DETECTRON2_DATASETS", "data")
    files = {
        "Detector": ("configs/mini_coco/faster_rcnn_R_18_FPN_ffc.yaml", "faster_rcnn_ffc/model_final.pth"),
        "Segmentor": ("configs/mini_cityscapes/pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py",
                      "pspnet_ffc/iter_3.pth"),
        "Classifier": ("configs/mini_imagenet/resnet18-ffc_1xb32-504_mini-imagenet-64x64.py",
                       "resnet18_ffc/iter_3.pth"),
    }  # fmt: skip
    image = next(Path("data/mini_coco/val2017").iterdir())
    for block in blocks("outputs", "python"):
        config, checkpoint = next(pair for name, pair in files.items() if name in block)
        block = re.sub(r"config\.\w+", config, re.sub(r"model\w*\.pth", f"work_dirs/demo/{checkpoint}", block))
        exec(compile(block.replace("image.jpg", str(image)), "outputs.md", "exec"), {})
    assert "outputs" in capsys.readouterr().out
