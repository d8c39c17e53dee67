"""The checkpoints that come with the repository load, and score what their page says."""

import re
from pathlib import Path

import pytest
from repository import ROOT

pytest.importorskip("mmpretrain")

from ffc_dense.classification import Classifier
from ffc_dense.cli.shipped_configs import config_path
from ffc_dense.minidata import make_mini_imagenet
from ffc_dense.safe_files import sha256_of

FOLDER = ROOT / "checkpoints"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
IMAGES = 60  # of each class: the whole validation split
TOLERANCE = 0.5  # percent: 3 images of 600, for other builds of torch and of the JPEG decoder


def rows():
    """(file, config, {test mode: Top-1}, sha256) of each row of the page's table."""
    score = r"([\d.]+)"
    pattern = rf"^\| `(\S+)` \| `(\S+)` \| {score} / {score} / {score} \| `(\w{{64}})` \|$"
    found = re.findall(pattern, PAGE, re.MULTILINE)
    modes = ("vote", "mean", "out1")
    return [
        (name, config, dict(zip(modes, map(float, scores), strict=True)), digest)
        for name, config, *scores, digest in found
    ]


@pytest.fixture(scope="module")
def val(tmp_path_factory):
    """The validation images, which do not depend on how many are made for training."""
    return make_mini_imagenet(tmp_path_factory.mktemp("mini_imagenet"), 1, IMAGES) / "val"


def test_the_page_tells_every_file():
    assert {name for name, *_ in rows()} == {path.name for path in FOLDER.glob("*.safetensors")}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6e6
    for name, _, _, digest in rows():
        assert sha256_of(FOLDER / name) == digest


@pytest.mark.parametrize(("name", "config", "scores", "digest"), rows())
def test_a_checkpoint_scores_what_its_page_says(name, config, scores, digest, val):
    classifier = Classifier(config_path(config), FOLDER / name, "cpu")
    head, right = classifier.model.head.fc, dict.fromkeys(scores, 0)
    paths = sorted(val.glob("*/*.JPEG"))
    assert len(paths) == 10 * IMAGES and classifier.classes == sorted(path.name for path in val.iterdir())
    for path in paths:
        prediction = classifier(path)
        right["vote"] += prediction.name == path.parent.name
        right["out1"] += prediction.outputs[0].name == path.parent.name
        head.test_reduce = "mean"
        right["mean"] += classifier(path).name == path.parent.name
        head.test_reduce = "vote"
    for mode, count in right.items():
        assert 100 * count / len(paths) == pytest.approx(scores[mode], abs=TOLERANCE), mode


def test_the_first_picture_costs_no_training(tmp_path, monkeypatch):
    from ffc_dense.cli.__main__ import main

    monkeypatch.chdir(tmp_path)
    Path("checkpoints").symlink_to(FOLDER)
    (command,) = re.findall(r"^ffc-dense (predict(?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    with pytest.raises(SystemExit) as ended:
        main(command.replace("\\\n", " ").split())
    assert ended.value.code == 0
    assert {path.name for path in Path("pictures").iterdir()} >= {"digit.jpg", "predictions.csv"}


def test_the_python_on_the_page_prints_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoints", "configs"):
        Path(name).symlink_to(ROOT / name)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "checkpoints/README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == block.strip().splitlines()[-1].removeprefix("# ")
