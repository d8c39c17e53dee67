"""``--dataset``: one's own data in COCO's format in every command, and what each command needs of it."""

import json
import logging
import re
import shlex
from pathlib import Path

import pytest
import torch
from repository import ROOT
from tools_in_process import run_tool

pytest.importorskip("detectron2")

from detectron2.data import DatasetCatalog, MetadataCatalog
from tiny_datasets import QUICK, write_model

from ffc_dense.cli.__main__ import main
from ffc_dense.detection import Detector
from ffc_dense.detection.inputs.datasets import register_own
from ffc_dense.errors import UserError
from ffc_dense.minidata import make_mini_coco

SHORT = [
    "MODEL.FPN.OUT_CHANNELS", "16", "MODEL.ROI_BOX_HEAD.FC_DIM", "32", "SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()",
    "SOLVER.IMS_PER_BATCH", "2", "MODEL.RPN.POST_NMS_TOPK_TEST", "10", "DATALOADER.NUM_WORKERS", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    make_mini_coco(folder / "data" / "mini_coco", 3, 2)
    return folder


@pytest.fixture(autouse=True)
def unregistered(monkeypatch, data):
    """In the folder with the data, without the names that an earlier command of this process registered."""
    monkeypatch.chdir(data)
    monkeypatch.setattr("sys.argv", ["test"])  # a program's name is set in it
    yield
    for name in [name for name in DatasetCatalog if name.startswith("my_")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def own(split="val", name="my_val"):
    root = Path("data/mini_coco")
    return ["--dataset", name, root / "annotations" / f"instances_{split}2017.json", root / f"{split}2017"]


def forget():
    for name in ("my_train", "my_val"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_the_commands_of_the_docs_train_evaluate_and_show_the_names(data, capsys):
    page = (ROOT / "docs/start/own-data-detectron2.md").read_text()
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    train, evaluate, predict = (shlex.split(line)[1:] for line in block.replace("\\\n", " ").splitlines())
    main([*train, *SHORT])
    forget()
    main(evaluate)
    DatasetCatalog.remove("my_val")
    MetadataCatalog.remove("my_val")
    with pytest.raises(SystemExit) as ended:
        main(predict)
    assert ended.value.code == 0 and len(list(Path("work_dirs/mine/pictures").iterdir())) == 2
    scores = json.loads(Path("work_dirs/mine/eval_model_final/reductions.json").read_text())
    assert scores["dataset"] == "my_val" and len(scores["results"]) == 9
    saved = torch.load("work_dirs/mine/model_final.pth", weights_only=True)
    assert saved["class_names"] == list("0123456789")
    saved["class_names"] = [f"digit {name}" for name in saved["class_names"]]
    torch.save(saved, "named.pth")
    assert Detector("work_dirs/mine/config.yaml", "named.pth").metadata.thing_classes[3] == "digit 3"
    torch.save({**saved, "class_names": ["too", "few"]}, "few.pth")
    assert Detector("work_dirs/mine/config.yaml", "few.pth").metadata.thing_classes[3] == "3"


@pytest.mark.parametrize("command", ["train", "eval_only", "evaluate", "analyze"])
def test_another_number_of_classes_is_refused_with_what_to_set(tmp_path, command):
    write_model(tmp_path, "my_val", "DATASETS.TRAIN", ("my_val",))
    config, key = tmp_path / "config.yaml", "MODEL.ROI_HEADS.NUM_CLASSES"
    tool, args = {
        "train": ("train_net", ["--config-file", config, "--dataset-check", "off", *own(), key, 7]),
        "eval_only": ("train_net", ["--config-file", config, "--eval-only", *own(), key, 7]),
        "evaluate": ("eval_coco", ["--config-file", config, *own(), key, 7]),
        "analyze": ("analyze_outputs", [config, tmp_path / "model.pth", key, 7, *own()]),
    }[command]
    code, _, err = run_tool(tool, *args)
    line = err.splitlines()[-1]
    assert code == 2 and f"{key} is 7, --dataset my_val has 10 classes (0, 1, 2, 3, 4, ...): set {key} to 10" in line


@pytest.mark.parametrize("command", ["eval_only", "evaluate", "ensemble", "analyze"])
def test_classes_in_another_order_than_in_the_training_are_refused(tmp_path, monkeypatch, command):
    write_model(tmp_path, "my_val")
    config, same, swapped = (tmp_path / name for name in ("config.yaml", "model.pth", "swapped.pth"))
    weights = torch.load(same)
    torch.save({**weights, "class_names": ["0", "2", "1", *map(str, range(3, 10))]}, swapped)
    torch.save({**weights, "class_names": [*map(str, range(9)), "nine"]}, same)  # renamed alone: passes
    tool, args = {
        "eval_only": ("train_net", ["--config-file", config, "--eval-only", *own(), "MODEL.WEIGHTS", swapped]),
        "evaluate": ("eval_coco", ["--config-file", config, *own(), "MODEL.WEIGHTS", swapped]),
        "ensemble": ("eval_coco", ["--config-file", config, *own(), "--output", tmp_path, "--ensemble", swapped,
                                   "MODEL.WEIGHTS", same]),
        "analyze": ("analyze_outputs", [config, swapped, *own()]),
    }[command]  # fmt: skip
    code, _, err = run_tool(tool, *args)
    line = err.splitlines()[-1]
    assert code == 2 and f"my_val: class 1 is '1', in the training of {swapped} it was '2', so that" in line, err[
        -2000:
    ]


@pytest.mark.parametrize("tool", ["eval_coco", "analyze_outputs"])
def test_the_commands_own_lines_come_alone_unless_more_is_asked_for(tmp_path, monkeypatch, tool):
    monkeypatch.setattr(logging, "raiseExceptions", False)  # of handlers on streams of earlier tests
    write_model(tmp_path, "my_val")
    config, weights = tmp_path / "config.yaml", tmp_path / "model.pth"
    first = ["--config-file", config, "MODEL.WEIGHTS", weights] if tool == "eval_coco" else [config, weights]
    found = []
    for number, flags in enumerate(([], ["--verbose"])):
        output = ["--output", tmp_path / f"{number}", *flags, *own()]
        code, out, err = run_tool(tool, *first[:2], *output, *first[2:])
        assert code == 0, err[-2000:]
        found.append((out.replace(str(tmp_path / f"{number}"), ""), err))
    (quiet, few), (loud, many) = found
    assert quiet == loud and quiet.startswith("|")
    assert "Evaluate annotation type" in many and "Evaluate annotation type" not in few  # pycocotools prints it
    assert len(few.splitlines()) < 10 < len(many.splitlines())


def test_only_the_splits_that_a_command_uses_must_be_registered(tmp_path):
    write_model(tmp_path, "my_val", "DATASETS.TRAIN", ("nobody_has_this",))
    config = ["--config-file", tmp_path / "config.yaml"]
    for tool, args in (("train_net", ["--eval-only"]), ("eval_coco", [])):
        code, _, err = run_tool(tool, *config, *args, *own())
        assert code == 0, err[-3000:]
    code, _, err = run_tool("analyze_outputs", tmp_path / "config.yaml", tmp_path / "model.pth", *own())
    assert code == 0, err[-3000:]
    code, _, err = run_tool("train_net", *config, *own())
    assert code == 2 and "DATASETS.TRAIN: no dataset is registered as 'nobody_has_this'" in err
    assert "--dataset nobody_has_this ANNOTATIONS.json IMAGES" in err


def test_commands_that_show_images_take_it_too(tmp_path):
    cfg = write_model(tmp_path, "my_val", *QUICK)
    images = Path("data/mini_coco/val2017")
    for tool, args in {
        "demo_detect": ["--config-file", tmp_path / "config.yaml", "--input", images, "--output", tmp_path / "a"],
        "gradcam": [tmp_path / "config.yaml", tmp_path / "model.pth", "--input", images, "--output", tmp_path / "b",
                    "--confidence-threshold", 0, "--limit", 1, "--target", "class 3"],
    }.items():  # fmt: skip
        code, _, err = run_tool(tool, *args, *own())
        assert code == 0, err[-3000:]
    assert Detector(cfg).metadata.thing_classes == list("0123456789")


def test_a_dataset_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "cut.json").write_text('{"categories": [')
    images, annotations = "data/mini_coco/val2017", "data/mini_coco/annotations/instances_val2017.json"
    for files, match in {
        ("gone.json", images): "--dataset my_x: gone.json cannot be read",
        (annotations, "gone"): "--dataset my_x: gone is no folder",
        (str(tmp_path / "list.json"), images): "list.json is not in COCO's format",
        (str(tmp_path / "cut.json"), images): "cut.json is not in COCO's format",
    }.items():
        with pytest.raises(UserError, match=match):
            register_own([("my_x", *files)])
    register_own([("my_val", annotations, images)])
    register_own([("my_val", annotations, images)])  # by the next command of this process
    with pytest.raises(UserError, match="there is a dataset of that name already"):
        register_own([("coco_2017_val", annotations, images)])


def test_keypoints_have_their_names_and_flips(tmp_path):
    category = {"id": 4, "name": "person", "keypoints": ["nose", "left_eye", "right_eye", "left_out"]}
    (tmp_path / "a.json").write_text(json.dumps({"images": [], "annotations": [], "categories": [category]}))
    register_own([("my_points", str(tmp_path / "a.json"), str(tmp_path))])
    metadata = MetadataCatalog.get("my_points")
    assert metadata.keypoint_names == category["keypoints"]
    assert metadata.keypoint_flip_map == [("left_eye", "right_eye")]


def test_other_frameworks_configs_refuse_it(tmp_path):
    (tmp_path / "a.py").write_text("model = dict(type='EncoderDecoder')\n")
    (tmp_path / "a.pth").write_bytes(b"")
    code, _, err = run_tool("analyze_outputs", tmp_path / "a.py", tmp_path / "a.pth", *own())
    assert code == 2 and "--dataset: for detectron2's configs" in err
