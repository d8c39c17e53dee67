"""The commands of docs/start/own-data-mmpretrain.md."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from tools_in_process import program

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS

MINI = ROOT / "configs/mini_imagenet/resnet18-ffc_1xb32-504_mini-imagenet-64x64.py"
NAMES = ["daisy", "rose", "tall tulip"]
SHORT = [
    "train_cfg.max_iters=2", "train_cfg.val_interval=2", "param_scheduler.0.end=2", "train_dataloader.batch_size=2",
    "default_hooks.checkpoint.interval=2", "default_hooks.preemption.interval=0", "model.backbone.base_channels=4",
    "model.backbone.stem_channels=4", "model.head.in_channels=32",
]  # fmt: skip


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    """Three classes of images of different sizes."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, name in enumerate(NAMES):
            (tmp_path / "flowers" / split / name).mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(80 * label, 80 * label + 60, (70 + 9 * number, 90 - 7 * label, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "flowers" / split / name / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    return tmp_path / "flowers"


def test_the_commands_of_the_docs_check_train_evaluate_and_predict(flowers, capfd):
    page = (ROOT / "docs/start/own-data-mmpretrain.md").read_text()
    blocks = (
        "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).replace("\\\n", " ").replace("iter_504", "iter_2")
    )
    check, train, evaluate, predict = (shlex.split(line)[1:] for line in blocks.splitlines())
    assert program(*check) == 0
    assert program(*train, "--cfg-options", *SHORT) == 0, capfd.readouterr().err[-2000:]
    assert program(*evaluate, "--cfg-options", *SHORT[-3:]) == 0, capfd.readouterr().err[-2000:]
    scores = json.loads(Path("work_dirs/flowers/eval_iter_2/reductions.json").read_text())["results"]
    assert len(scores) == 9 and all("top5" not in str(each) for each in scores.values())
    assert program(*predict, "--cfg-options", *SHORT[-3:]) == 0
    rows = list(csv.DictReader(Path("work_dirs/flowers/pictures/predictions.csv").open()))
    assert len(rows) == 6 and {row["class"] for row in rows} <= set(NAMES)
    # The saved config needs no --data.
    (saved,) = Path("work_dirs/flowers").glob("*.py")
    assert program("evaluate", saved, "work_dirs/flowers/iter_2.pth", "--output", "again", "--reduce", "all") == 0
    assert json.loads(Path("again/reductions.json").read_text())["results"] == scores


def test_an_image_of_the_model_s_size_is_not_changed_by_the_resize():
    pipeline = Config.fromfile(MINI).test_dataloader.dataset.pipeline
    init_default_scope("mmpretrain")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(TRANSFORMS.build(pipeline[1])(dict(img=image))["img"], image)
