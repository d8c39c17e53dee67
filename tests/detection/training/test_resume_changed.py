"""A resumption with another model or optimizer names the keys that were changed, not the groups of an optimizer."""

import shutil

import pytest
from tools_in_process import run_tool

pytest.importorskip("detectron2")

from small_detector import small_cfg
from tiny_training import NARROW, make_dataset

FFC = "MODEL.ROI_BOX_HEAD.FFC"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a training of two iterations, and its config."""
    folder = tmp_path_factory.mktemp("changed")
    dataset = make_dataset(folder / "changed_data")
    cfg = small_cfg("FFCStandardROIHeads", *NARROW, "DATASETS.TRAIN", (dataset,), "SOLVER.MAX_ITER", 2)
    (folder / "cfg.yaml").write_text(cfg.dump())
    code, _, err = train(folder, folder / "run")
    assert code == 0, err[-3000:]
    return folder


def train(folder, out, *opts):
    return run_tool("train_net", "--config-file", folder / "cfg.yaml", "--resume", "OUTPUT_DIR", out, *opts)


@pytest.mark.parametrize(
    ("opts", "said"),
    [
        ((f"{FFC}.NUM_FILTERS", 2), [f"{FFC}.NUM_FILTERS was 3, is 2"]),
        ((f"{FFC}.NUM_FILTERS", 4), [f"{FFC}.NUM_FILTERS was 3, is 4"]),
        (("MODEL.ROI_HEADS.NAME", "StandardROIHeads"), ["ROI_HEADS.NAME was 'FFCStandardROIHeads', is 'StandardROI"]),
        (
            ("MODEL.ROI_BOX_HEAD.FC_DIM", 8, "SOLVER.BASE_LR", 0.001),
            ["FC_DIM was 16, is 8", "SOLVER.BASE_LR was 0.005"],
        ),
        (("SOLVER.BIAS_LR_FACTOR", 2.0), ["SOLVER.BIAS_LR_FACTOR was 1.0, is 2.0"]),
    ],
)
def test_the_changed_keys_are_named(trained, tmp_path, opts, said):
    shutil.copytree(trained / "run", tmp_path / "run")
    code, _, err = train(trained, tmp_path / "run", *opts, "SOLVER.MAX_ITER", 4)
    assert code == 2, err[-3000:]
    (line,) = [line for line in err.splitlines() if line.startswith("train_net.py: error: ")]
    assert code == 2 and "model_final.pth is of a training with other settings: " in line
    assert all(words in line for words in said) and "(train_config.yaml)" in line
    assert "Set them back, or train in another output folder" in line
    for name in ("config.yaml", "train_config.yaml", "last_checkpoint"):  # what the trained model is read with
        assert (tmp_path / "run" / name).read_bytes() == (trained / "run" / name).read_bytes()


def test_what_does_not_change_the_model_may_change(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    changed = ["SOLVER.MAX_ITER", 3, "SOLVER.BASE_LR", 0.001, f"{FFC}.TEST_REDUCE", "mean"]
    code, _, err = train(trained, tmp_path / "run", *changed)
    assert code == 0, err[-3000:]
    assert (tmp_path / "run" / "model_final.pth").read_bytes() != (trained / "run" / "model_final.pth").read_bytes()


def test_without_a_record_the_weights_are_named(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / "train_config.yaml").unlink()
    code, _, err = train(trained, tmp_path / "run", f"{FFC}.NUM_FILTERS", 2, "SOLVER.MAX_ITER", 4)
    assert code == 2 and "cls_score.filters.2." in err and "other settings (" in err
