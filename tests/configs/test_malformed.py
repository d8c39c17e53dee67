"""A malformed config ends every tool with exit code 2 and one message: the key or file, what is wrong, the remedy.

All cases but those of the last section run in this process; a real process runs each tool once.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools_in_process import TOOLS, run_tool

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

from detectron2.config import get_cfg
from detectron2.data.datasets import register_coco_instances
from detectron2.modeling import build_model

import ffc_dense.detection
import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense.minidata import make_mini_cityscapes, make_mini_coco

CONFIGS = TOOLS.parent / "configs"
FFC_YAML = CONFIGS / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
STOCK_YAML = CONFIGS / "mini_coco" / "faster_rcnn_R_18_FPN.yaml"
LAZY = CONFIGS / "coco" / "faster_rcnn_R_50_FPN_1x_ffc.py"
FFC_PSP = CONFIGS / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
FFC = "MODEL.ROI_BOX_HEAD.FFC"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with data/mini_coco, registered as malformed_train and _val, and data/mini_cityscapes."""
    folder = tmp_path_factory.mktemp("malformed")
    coco = make_mini_coco(folder / "data" / "mini_coco", 3, 1)
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 2, 1)
    for split in ("train", "val"):
        json_file = coco / "annotations" / f"instances_{split}2017.json"
        register_coco_instances(f"malformed_{split}", {}, str(json_file), str(coco / f"{split}2017"))
    register_coco_instances("malformed_gone", {}, str(folder / "gone.json"), str(coco / "train2017"))
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def refused(result, prog: str, said: list[str]) -> None:
    code, out, err = result
    assert code == 2, out[-2000:] + err[-2000:]
    assert "Traceback" not in out + err
    (line,) = [line for line in err.splitlines() if line.startswith(f"{prog}.py: error: ")]
    for words in said:
        assert re.search(words, err), line
    assert len(line) < 700


# detectron2's yaml: KEY VALUE pairs or the text of a file, and what the message says, the remedy last

DATA = ["DATASETS.TRAIN", "('malformed_train',)", "DATASETS.TEST", "('malformed_val',)"]
YAML = {
    "unknown key": ([f"{FFC}.NUM_FILTER", "2"], [f"{FFC}.NUM_FILTER in the command line", "mean NUM_FILTERS"]),
    "unknown section": (["MODEL.ROI_BOX_HAED.NUM_FC", "2"], ["MODEL.ROI_BOX_HAED", "mean MODEL.ROI_BOX_HEAD"]),
    "text for a number": ([f"{FFC}.NUM_FILTERS", "three"], [f"{FFC}.NUM_FILTERS", "expected int.* got str three"]),
    "fraction for a number": ([f"{FFC}.NUM_FILTERS", "2.5"], [f"{FFC}.NUM_FILTERS", "expected int.* got float 2.5"]),
    "number for a switch": ([f"{FFC}.INTERPOLATE", "2"], [f"{FFC}.INTERPOLATE", "expected bool"]),
    "a key without value": (["SOLVER.MAX_ITER"], ["command line", "expected pairs KEY VALUE", "give every key one"]),
    "negative num_filters": (
        [f"{FFC}.NUM_FILTERS", "-1"],
        [f"{FFC}.NUM_FILTERS", "must be an integer >= 0 .*, got -1"],
    ),
    "misspelt reduction": ([f"{FFC}.TEST_REDUCE", "votes"], [f"{FFC}.TEST_REDUCE", "'votes' .did you mean 'vote'?"]),
    "output that is not there": (
        [f"{FFC}.TEST_REDUCE", "out8"],
        [f"{FFC}.TEST_REDUCE", "one of 'vote', 'mean', 'out1'"],
    ),
    "head name with a typo": (
        ["MODEL.ROI_HEADS.NAME", "FFCStandardROIHead"],
        ["MODEL.ROI_HEADS.NAME", "did you mean FFCStandardROIHeads?"],
    ),
    "unknown backbone": (
        ["MODEL.BACKBONE.NAME", "build_resnet_fpn"],
        ["MODEL.BACKBONE.NAME", "did you mean build_resnet_fpn_backbone?"],
    ),
    "unknown architecture": (["MODEL.META_ARCHITECTURE", "X"], ["MODEL.META_ARCHITECTURE", "there are .*Generalized"]),
    "unknown depth": (["MODEL.RESNETS.DEPTH", "19"], ["MODEL.RESNETS.DEPTH 19 does not work", "correct it"]),
    "unknown schedule": (["SOLVER.LR_SCHEDULER_NAME", "Step"], ["SOLVER.LR_SCHEDULER_NAME 'Step'", "correct it"]),
    "unknown device": (["MODEL.DEVICE", "cpuu"], ["MODEL.DEVICE 'cpuu'", "correct it"]),
    "classes that differ": (
        ["MODEL.ROI_HEADS.NUM_CLASSES", "80"],
        ["MODEL.ROI_HEADS.NUM_CLASSES is 80", "10 categories", "set .*NUM_CLASSES to 10"],
    ),
    "missing weights": (["MODEL.WEIGHTS", "gone.pth"], ["MODEL.WEIGHTS: gone.pth is not there", "Name a .pth"]),
    "unregistered dataset": (["DATASETS.TRAIN", "('malformed_trian',)"], ["DATASETS.TRAIN", "mean malformed_train?"]),
    "dataset without files": (["DATASETS.TRAIN", "('malformed_gone',)"], ["malformed_gone", r"gone\.json", "correct"]),
    "no training set": (["DATASETS.TRAIN", "()"], ["DATASETS.TRAIN", "name a registered dataset"]),
}
YAML_FILES = {
    "unknown key": ("MODEL: {ROI_BOX_HEAD: {FFC: {NUMFILTERS: 3}}}", [f"{FFC}.NUMFILTERS in FILE", "mean NUM_FILTERS"]),
    "broken syntax": ("MODEL:\n  WEIGHTS: [1, 2\n", ["FILE", "line", "correct the file"]),
    "no keys at all": ("- 1\n- 2\n", ["FILE", "KEY: VALUE"]),
    "missing base": ("_BASE_: gone.yaml\n", [r"FILE.*gone\.yaml", "correct the path"]),
    "a Python object": ("OUTPUT_DIR: !!python/object/apply:os.getcwd []\n", ["FILE", "os.getcwd", "write the plain"]),
}


@pytest.mark.parametrize("case", YAML)
def test_a_wrong_option_of_train_net_is_named_with_its_remedy(folder, case):
    opts, said = YAML[case]
    opts = ["OUTPUT_DIR", "yaml", "SOLVER.STEPS", "()", *DATA, *opts]
    refused(run_tool("train_net", "--config-file", FFC_YAML, *opts), "train_net", said)


@pytest.mark.parametrize("case", YAML_FILES)
def test_a_wrong_yaml_file_is_named_with_its_remedy(folder, tmp_path, case):
    text, said = YAML_FILES[case]
    (tmp_path / "a.yaml").write_text(text)
    said = [words.replace("FILE", re.escape(str(tmp_path / "a.yaml"))) for words in said]
    refused(run_tool("train_net", "--config-file", tmp_path / "a.yaml"), "train_net", said)


def test_an_absent_yaml_file_is_named_with_its_remedy(folder):
    refused(run_tool("train_net", "--config-file", "gone.yaml"), "train_net", ["gone.yaml", "correct the path"])


@pytest.mark.parametrize("key", ["NUM_FILTERS", "INTERPOLATE", "TEST_REDUCE"])
def test_a_key_of_ffc_without_effect_is_no_silent_success(folder, key):
    value = {"NUM_FILTERS": 2, "INTERPOLATE": False, "TEST_REDUCE": "mean"}[key]
    result = run_tool("train_net", "--config-file", STOCK_YAML, *DATA, f"{FFC}.{key}", value)
    said = [f"{FFC}.{key}: has no effect", "StandardROIHeads is a stock head", "name FFCStandardROIHeads"]
    refused(result, "train_net", said)


def test_a_script_without_add_ffc_config_is_told_so():
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.DEVICE = "FFCRes5ROIHeads", "cpu"
    with pytest.raises(KeyError, match=r"MODEL\.ROI_BOX_HEAD\.FFC.*call ffc_dense\.detection\.add_ffc_config"):
        build_model(cfg)


# LazyConfig: overrides, or the text of a file

LAZY_DATA = [
    "train.init_checkpoint=", "train.output_dir=lazy", "model.roi_heads.num_classes=10",
    "dataloader.train.dataset.names=malformed_train", "dataloader.test.dataset.names=malformed_val",
]  # fmt: skip
PREDICTOR = "model.roi_heads.box_predictor"
OVERRIDES = {
    "unknown argument": ([f"{PREDICTOR}.num_filter=2"], [rf"{PREDICTOR}\.num_filter: FFCFast", "mean num_filters?"]),
    "key that nothing reads": (["train.max_itr=9"], [r"train\.max_itr", "mean max_iter"]),
    "negative num_filters": ([f"{PREDICTOR}.num_filters=-1"], [rf"{PREDICTOR}\.num_filters", "got -1", "correct it"]),
    "text for a number": ([f"{PREDICTOR}.num_filters=three"], [rf"{PREDICTOR}\.num_filters", "integer", "correct it"]),
    "misspelt reduction": ([f"{PREDICTOR}.test_reduce=vot"], [rf"{PREDICTOR}\.test_reduce", "'vot'", "correct it"]),
    "unknown class": ([f"{PREDICTOR}._target_=ffc_dense.X"], [rf"{PREDICTOR}\._target_", "ffc_dense.X", "correct"]),
    "no = in an override": (["train.max_iter"], [r"train\.max_iter", "KEY=VALUE"]),
    "missing weights": (["train.init_checkpoint=gone.pth"], [r"train\.init_checkpoint: gone\.pth", "Name a .pth"]),
    "unregistered dataset": (
        ["dataloader.train.dataset.names=malformed_trian"],
        [r"dataloader\.train\.dataset\.names", "mean malformed_train?"],
    ),
    "classes that differ": (
        ["model.roi_heads.num_classes=80"],
        [r"model\.roi_heads\.num_classes is 80", "set model.roi_heads.num_classes to 10"],
    ),
    "unknown device": (["train.device=cpuu"], ["train.device 'cpuu'", "name cuda or cpu"]),
}
LAZY_FILES = {
    "broken syntax": ("train = dict(\n", ["FILE", "correct the config"]),
    "missing base": ("from .gone import model\n", [r"gone\.py does not exist", "correct the relative import"]),
    "missing module": ("import gone_package\n", ["gone_package", "install it"]),
    "no model": ("train = dict(device='cpu')\n", ["model: the config has no such key", "import it"]),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_wrong_override_of_a_lazyconfig_is_named_with_its_remedy(folder, case):
    overrides, said = OVERRIDES[case]
    arguments = ["--config-file", LAZY, *LAZY_DATA, *overrides]
    refused(run_tool("lazyconfig_train_net", *arguments), "lazyconfig_train_net", said)


@pytest.mark.parametrize("case", LAZY_FILES)
def test_a_wrong_lazyconfig_file_is_named_with_its_remedy(folder, tmp_path, case):
    text, said = LAZY_FILES[case]
    (tmp_path / "a.py").write_text(text)
    said = [words.replace("FILE", re.escape(str(tmp_path / "a.py"))) for words in said]
    refused(run_tool("lazyconfig_train_net", "--config-file", tmp_path / "a.py"), "lazyconfig_train_net", said)


def test_a_yaml_file_is_no_lazyconfig(folder):
    result = run_tool("lazyconfig_train_net", "--config-file", FFC_YAML)
    refused(result, "lazyconfig_train_net", [r"expected a LazyConfig, a \.py file", "give the .py"])


def test_an_argument_that_is_new_or_added_on_purpose_is_no_mistake(folder):
    arguments = ["--config-file", LAZY, *LAZY_DATA, f"{PREDICTOR}.num_filters=2", "+train.note=mine"]
    result = run_tool("lazyconfig_train_net", *arguments, "train.init_checkpoint=gone.pth")
    refused(result, "lazyconfig_train_net", ["init_checkpoint: gone.pth"])  # nothing else was wrong


# mmseg's py: overrides, or the text of a file, whose base is the shipped config

OPTIONS = {
    "unknown argument": (["model.decode_head.num_filter=2"], [r"model\.decode_head\.num_filter:", "mean num_filters?"]),
    "negative num_filters": (["model.decode_head.num_filters=-1"], [r"decode_head\.num_filters", "got -1", "correct"]),
    "text for a number": (["model.decode_head.num_filters=three"], [r"decode_head\.num_filters", "three", "correct"]),
    "fraction for a number": (["model.decode_head.num_filters=2.5"], [r"decode_head\.num_filters", "2.5", "correct"]),
    "misspelt reduction": (["model.decode_head.test_reduce=votes"], [r"head\.test_reduce", "'votes'", "correct"]),
    "misspelt vote_at": (["model.decode_head.vote_at=pixel"], [r"decode_head\.vote_at", "'pixel'", "correct"]),
    "head name with a typo": (["model.decode_head.type=FFCPSPHeads"], [r"decode_head\.type", "mean FFCPSPHead?"]),
    "unknown optimizer": (["optim_wrapper.optimizer.type=AdamX"], [r"optim_wrapper\.optimizer\.type", "did you mean"]),
    "classes that differ": (["model.decode_head.num_classes=20"], [r"decode_head\.num_classes: 20", "set it to 19"]),
    "warm-up longer than the training": (
        ["param_scheduler.0.begin=400"],
        [r"param_scheduler\.0: end 400 should be larger than begin 400", "train longer"],
    ),
    "missing weights": (["load_from=gone.pth"], [r"load_from: there is no file gone\.pth", "give the path"]),
    "missing dataset": (["train_dataloader.dataset.data_root=gone"], ["data_root", "no folder gone", "correct the"]),
    "empty dataset": (["train_dataloader.dataset.data_root=empty"], ["data_root", "empty/leftImg8bit", "correct"]),
    "no = in an option": (["model.decode_head.num_filters"], ["--cfg-options", "KEY=VALUE"]),
    "a list's entry that is not there": (["param_scheduler.7.end=9"], [r"param_scheduler\.7\.end", "correct"]),
}
FILES = {
    "broken syntax": ("model = dict(\n", ["FILE", "correct the config"]),
    "missing base": ("_base_ = './gone.py'\n", ["FILE", r"gone\.py", "correct its _base_"]),
    "missing module": (
        "_base_ = 'BASE'\ncustom_imports = dict(imports=['gone_package'], allow_failed_imports=False)\n",
        ["custom_imports", "gone_package", "PYTHONPATH"],
    ),
    "no model": ("train_cfg = dict(max_iters=3)\n", ["model: the config has no such key", "name a _base_"]),
    "misspelt section": ("_base_ = 'BASE'\noptim_wraper = dict()\n", ["optim_wraper", "mean optim_wrapper"]),
    "a name that nobody defined": ("model = dict(type=PSPHead)\n", ["FILE", "PSPHead", "correct"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_wrong_option_of_mmseg_is_named_with_its_remedy(folder, case):
    options, said = OPTIONS[case]
    result = run_tool("mmseg_tool", "train", FFC_PSP, "--work-dir", "psp", "--cfg-options", *options)
    refused(result, "mmseg_tool", said)


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_of_mmseg_is_named_with_its_remedy(folder, tmp_path, case):
    text, said = FILES[case]
    (tmp_path / "a.py").write_text(text.replace("BASE", str(FFC_PSP)))
    said = [words.replace("FILE", re.escape(str(tmp_path / "a.py"))) for words in said]
    result = run_tool("mmseg_tool", "train", tmp_path / "a.py", "--work-dir", "psp")
    refused(result, "mmseg_tool", said)


def test_an_absent_config_or_checkpoint_of_mmseg_is_named_with_its_remedy(folder):
    refused(run_tool("mmseg_tool", "train", "gone.py"), "mmseg_tool", ["gone.py", "correct the path"])
    result = run_tool("mmseg_tool", "test", FFC_PSP, "gone.pth")
    refused(result, "mmseg_tool", ["gone.pth: there is no such checkpoint", "name the .pth"])


# The evaluations: the same messages, with the rest of their arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*DATA, f"{FFC}.NUM_FILTER", "2", "MODEL.WEIGHTS", "x.pth"], [f"{FFC}.NUM_FILTER", "mean NUM_FILTERS"]),
        ([*DATA, "MODEL.WEIGHTS", "gone.pth"], ["MODEL.WEIGHTS: gone.pth is not there", "Name a .pth"]),
        ([*DATA], ["nothing to evaluate", "add MODEL.WEIGHTS"]),
        ([*DATA, "MODEL.WEIGHTS", "x.pth", "MODEL.ROI_HEADS.NAME", "FFCHeads"], [r"ROI_HEADS\.NAME", "did you mean"]),
    ],
)
def test_what_eval_coco_cannot_evaluate_is_named_with_its_remedy(folder, arguments, said):
    Path("x.pth").touch()
    refused(run_tool("eval_coco", "--config-file", FFC_YAML, *arguments), "eval_coco", said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.py", "x.pth"], ["gone.py", "correct the path"]),
        ([FFC_PSP, "gone.pth"], ["gone.pth does not exist", "name the file"]),
        ([FFC_PSP, "x.pth", "--cfg-options", "model.decode_head.num_filter=2"], ["num_filter", "mean num_filters"]),
        ([FFC_PSP, "x.pth", "--cfg-options", "model.decode_head.num_classes=3"], ["num_classes: 3", "set it to 19"]),
        ([FFC_PSP, "x.pth", "--cfg-options", "foo"], ["--cfg-options", "KEY=VALUE"]),
    ],
)
def test_what_eval_cityscapes_cannot_evaluate_is_named_with_its_remedy(folder, arguments, said):
    Path("x.pth").touch()
    refused(run_tool("eval_cityscapes", *arguments), "eval_cityscapes", said)


# --debug, which is an option of every tool


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train_net", ["--config-file", FFC_YAML, *DATA, f"{FFC}.NUM_FILTERS", "-1"]),
        ("lazyconfig_train_net", ["--config-file", LAZY, *LAZY_DATA, "train.max_itr=9"]),
        ("mmseg_tool", ["train", FFC_PSP, "--work-dir", "debug", "--cfg-options", "load_from=gone.pth"]),
        ("eval_coco", ["--config-file", FFC_YAML, *DATA]),
        ("eval_cityscapes", [FFC_PSP, "gone.pth"]),
    ],
)
def test_debug_shows_the_traceback_above_the_same_message(folder, name, arguments):
    code, _, err = run_tool(name, *arguments)
    code_of_debug, _, err_of_debug = run_tool(name, "--debug", *arguments)
    assert code == code_of_debug == 2
    assert "Traceback" not in err and "Traceback (most recent call last)" in err_of_debug
    message = err.splitlines()[-1]
    assert message.startswith(f"{name}.py: error: ") and err_of_debug.splitlines()[-1] == message


# Real processes


def process(folder, *command):
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore", DETECTRON2_DATASETS="data")
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("train_net", ["--config-file", FFC_YAML, f"{FFC}.NUM_FILTERS", "-1"], [f"{FFC}.NUM_FILTERS", "integer >= 0"]),
        ("lazyconfig_train_net", ["--config-file", LAZY, "train.max_itr=9"], [r"train\.max_itr", "mean max_iter"]),
        ("eval_coco", ["--config-file", FFC_YAML], ["nothing to evaluate", "add MODEL.WEIGHTS"]),
        ("eval_cityscapes", ["gone.py", "gone.pth"], ["no config file gone.py", "correct the path"]),
    ],
)
def test_a_process_ends_with_2_and_the_message_alone(folder, name, arguments, said):
    refused(process(folder, TOOLS / f"{name}.py", *arguments), name, said)


@pytest.mark.ci
def test_debug_among_the_arguments_of_mmsegs_tool_shows_the_cause(folder):
    command = [TOOLS / "mmseg_tool.py", "train", FFC_PSP, "--work-dir", "debug"]
    code, _, err = process(folder, *command, "--debug", "--cfg-options", "model.decode_head.type=FFCPSPHeads")
    assert code == 2 and "Traceback" in err and "KeyError" in err
    assert err.splitlines()[-1].startswith("mmseg_tool.py: error: model.decode_head.type: ")


@pytest.mark.ci
def test_of_several_processes_the_first_one_tells(folder):
    command = [TOOLS / "train_net.py", "--config-file", FFC_YAML, "--num-gpus", 2, "--dist-url", "auto"]
    result = process(folder, *command, "MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", 19, "SOLVER.STEPS", "()")
    refused(result, "train_net", ["MODEL.RESNETS.DEPTH 19", "correct it"])
