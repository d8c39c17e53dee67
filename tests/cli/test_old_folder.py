"""A training that would begin in an old one's folder is refused by the tools of both frameworks."""

from pathlib import Path

import pytest
from tools_in_process import TOOLS, run_tool

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

from detectron2.data.datasets import register_coco_instances

from ffc_dense.minidata import make_mini_cityscapes, make_mini_coco

CONFIGS = TOOLS.parent / "configs"
YAML = CONFIGS / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
LAZY = CONFIGS / "coco" / "faster_rcnn_R_50_FPN_1x_ffc.py"
PSP = CONFIGS / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    coco = make_mini_coco(folder / "data" / "mini_coco", 1, 1)
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 1, 1)
    for split in ("train", "val"):
        json_file = coco / "annotations" / f"instances_{split}2017.json"
        register_coco_instances(f"old_{split}", {}, str(json_file), str(coco / f"{split}2017"))
    (folder / "out").mkdir()
    (folder / "out" / "last_checkpoint").write_text("model_0000009.pth")
    (folder / "out" / "config.yaml").write_text("of the old training")
    return folder


TRAININGS = {
    "train_net": ["--config-file", YAML, "OUTPUT_DIR", "out", "DATASETS.TRAIN", "('old_train',)",
                  "DATASETS.TEST", "()"],
    "lazyconfig_train_net": ["--config-file", LAZY, "train.output_dir=out", "train.init_checkpoint=",
                             "model.roi_heads.num_classes=10", "dataloader.train.dataset.names=old_train",
                             "dataloader.test.dataset.names=old_val"],
    "mmseg_tool": ["train", PSP, "--work-dir", "out"],
}  # fmt: skip


@pytest.mark.parametrize("tool", TRAININGS)
def test_a_fresh_start_in_an_old_folder_is_one_message_and_changes_nothing(folder, monkeypatch, tool):
    monkeypatch.chdir(folder)
    code, out, err = run_tool(tool, *TRAININGS[tool])
    assert code == 2 and "Traceback" not in out + err
    assert "out holds a training already (last_checkpoint): --resume goes on with it; to start anew" in err
    assert sorted(path.name for path in Path("out").iterdir()) == ["config.yaml", "last_checkpoint"]
    assert Path("out", "config.yaml").read_text() == "of the old training"
