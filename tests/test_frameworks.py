"""One recogniser: every shipped config and every kind of config file belongs to the framework that reads it."""

import subprocess
import sys

import pytest
from repository import ROOT

from ffc_dense.cli.shipped_configs import shipped
from ffc_dense.errors import UserError
from ffc_dense.frameworks import DETECTRON2, FRAMEWORKS, MMPRETRAIN, MMSEG, by_name, framework_of, recognise

MMPRETRAIN_FOLDERS = ("imagenet", "mini_imagenet", "hmdb51", "mini_hmdb51")
LAZY = {f"coco/faster_rcnn_R_50_FPN_1x{suffix}.py" for suffix in ("", "_ffc")}


@pytest.mark.parametrize("config", shipped())
def test_every_shipped_config_is_recognised(config):
    expected = (DETECTRON2, "lazy") if config in LAZY else (DETECTRON2, "yaml")
    if config.endswith(".py") and config not in LAZY:
        expected = (MMPRETRAIN if config.startswith(MMPRETRAIN_FOLDERS) else MMSEG, "mmengine")
    assert recognise(ROOT / "configs" / config) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.py", "from detectron2 import model_zoo\n", (DETECTRON2, "lazy")),
        ("a.py", "from ffc_dense.detection import FFCFastRCNNOutputLayers\n", (DETECTRON2, "lazy")),
        ("a.py", "from .base import model\nmodel.x = 1\n", (DETECTRON2, "lazy")),
        ("a.py", "import detectron2.config\n", (DETECTRON2, "lazy")),
        ("a.py", "_base_ = './b.py'\n", (MMSEG, "mmengine")),
        ("a.py", "text = '''\nfrom detectron2 import model_zoo\n'''\n", (MMSEG, "mmengine")),  # no import
        ("a.py", "custom_imports = dict(imports=['ffc_dense.segmentation'])\n", (MMSEG, "mmengine")),
        (
            "a.py",
            "from mmengine.config import read_base\nwith read_base():\n    from .b import *\n",
            (MMSEG, "mmengine"),
        ),
        ("a.py", "from mmseg.models import PSPHead\nmodel = dict(type=PSPHead)\n", (MMSEG, "mmengine")),
        ("a.py", "this is no Python", (MMSEG, "mmengine")),  # whoever reads it says where
        ("a.py", "default_scope = 'mmpretrain'\n", (MMPRETRAIN, "mmengine")),
        ("a.py", "default_scope = 'mmseg'\nfrom mmpretrain.models import ResNet\n", (MMSEG, "mmengine")),
        ("a.py", "custom_imports = dict(imports=['ffc_dense.classification'])\n", (MMPRETRAIN, "mmengine")),
        ("a.py", "_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'\n", (MMPRETRAIN, "mmengine")),
        ("a.py", "_base_ = ['./none.py', 'mmpretrain::_base_/default_runtime.py']\n", (MMPRETRAIN, "mmengine")),
        ("a.py", "from mmpretrain.models import ResNet\n", (MMPRETRAIN, "mmengine")),
        ("a.py", "# mmpretrain\nx = 'mmpretrain'\n", (MMSEG, "mmengine")),  # no statement about the scope
        ("a.yaml", "default_scope: mmpretrain\nmodel:\n  type: ImageClassifier\n", (MMPRETRAIN, "mmengine")),
        ("a.json", '{"default_scope": "mmpretrain"}', (MMPRETRAIN, "mmengine")),
        ("a.json", '{"custom_imports": {"imports": ["ffc_dense.classification"]}}', (MMPRETRAIN, "mmengine")),
        ("a.yaml", "MODEL:\n  WEIGHTS: ''\n", (DETECTRON2, "yaml")),
        ("a.yaml", "_BASE_: b.yaml\n", (DETECTRON2, "yaml")),
        ("a.yaml", "", (DETECTRON2, "yaml")),
        ("a.yaml", "model:\n  type: EncoderDecoder\n", (MMSEG, "mmengine")),
        ("a.yml", "_base_: b.yaml\n", (MMSEG, "mmengine")),
        ("a.json", '{"model": {}}', (MMSEG, "mmengine")),
        ("a.yaml", "dataloader: {test: {_target_: x}}\nmodel:\n  _target_: y\n", (DETECTRON2, "lazy")),
    ],
)
def test_a_config_is_recognised_by_what_is_in_it(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert recognise(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_base_ = './base.py'\n", MMPRETRAIN),
        ("_base_ = ['../base.py', 'below/runtime.py']\n", MMPRETRAIN),
        ("from mmengine.config import read_base\nwith read_base():\n    from .below.runtime import *\n", MMPRETRAIN),
        ("_base_ = './base.py'\ndefault_scope = 'mmseg'\n", MMSEG),
        ("_base_ = './circle.py'\n", MMSEG),
    ],
)
def test_a_config_belongs_to_the_framework_that_its_bases_name(tmp_path, text, expected):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "runtime.py").write_text("default_scope = 'mmpretrain'\n")
    (tmp_path / "base.py").write_text("_base_ = ['./below/runtime.py']\n")
    (tmp_path / "circle.py").write_text("_base_ = ['./a.py']\n")
    (tmp_path / "a.py").write_text(text)
    assert recognise(tmp_path / "a.py") == (expected, "mmengine")


@pytest.mark.parametrize(("name", "message"), [("none.yaml", "is not a file"), ("a.toml", "expected detectron2's")])
def test_what_is_no_config_is_named(tmp_path, name, message):
    (tmp_path / "a.toml").write_text("")
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        recognise(tmp_path / name)


def test_overrides_of_the_other_framework_are_named(tmp_path):
    for name in ("a.yaml", "a.py", "m.pth"):
        (tmp_path / name).write_text("")
    checkpoint = str(tmp_path / "m.pth")
    with pytest.raises(UserError, match="--cfg-options are for mmseg"):
        framework_of(str(tmp_path / "a.yaml"), checkpoint, [], ["a=1"])
    with pytest.raises(UserError, match=r"SEED 1: .*a\.py is mmseg's"):
        framework_of(str(tmp_path / "a.py"), checkpoint, ["SEED", "1"], None)


def test_rows_are_found_by_name_and_name_modules_that_are_there():
    for row in FRAMEWORKS:
        assert by_name(row.name) is row and row.main_metric in row.metrics
        for module in (row.adapter, row.reader):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_the_shell_launchers_ask_the_same_recogniser():
    script = 'source "$0/tools/launch_common.sh"; for c in "$@"; do framework "$c"; done'
    configs = sorted(LAZY | {"mini_coco/faster_rcnn_R_18_FPN_ffc.yaml"}) + [
        "mini_cityscapes/pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
    ]
    command = ["bash", "-c", script, str(ROOT), *(str(ROOT / "configs" / name) for name in configs)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    )
    assert done.stdout.split() == ["lazyconfig", "lazyconfig", "detectron2", "mmseg"], done.stderr


def test_reading_runs_imports_no_framework():
    code = "import sys, ffc_dense.runs.reading, ffc_dense.paper, ffc_dense.report; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not {"detectron2", "mmseg", "mmengine", "torchvision"} & set(eval(done.stdout))
