"""Three streams on the mini HMDB51 set: trained, scored alone and together."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from repository import ROOT

pytest.importorskip("mmpretrain")
pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from mmengine.config import Config
from mmengine.runner import Runner

from ffc_dense.cli import extract_flow
from ffc_dense.errors import UserError
from ffc_dense.method.literal import literal_vote
from ffc_dense.minidata.hmdb51 import make_mini_hmdb51
from ffc_dense.video.commands import evaluate_streams
from ffc_dense.video.evaluation.streams import accuracies, combined

CONFIGS = ROOT / "configs/mini_hmdb51"


def test_the_three_rules_are_those_of_literal_loops():
    streams = [torch.randn(7, 20, 5, dtype=torch.float64) for _ in range(3)]
    found = combined(streams)
    torch.testing.assert_close(found["mean"], sum(each.sum(0) / 7 for each in streams) / 3)
    assert torch.equal(found["joint vote"], literal_vote(torch.cat(streams)))
    averaged = torch.stack([sum(each[m] for each in streams) / 3 for m in range(7)])
    torch.testing.assert_close(found["averaged, then voted"], literal_vote(averaged))


def test_streams_without_the_same_outputs_are_not_averaged_one_by_one():
    assert list(combined([torch.randn(7, 4, 5), torch.randn(1, 4, 5)])) == ["mean", "joint vote"]


def test_accuracy_counts_the_first_of_equal_logits_as_higher():
    logits = torch.tensor([[0.0, 0.0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0.0]])
    found = accuracies(logits, torch.tensor([0, 4, 5]))
    assert found == pytest.approx({"accuracy/top1": 100 / 3, "accuracy/top5": 200 / 3})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = make_mini_hmdb51(tmp_path_factory.mktemp("data") / "mini_hmdb51", 12, 6)
    extract_flow.main([str(root), "--short-side", "24", "--workers", "1"])
    return root


def config_of(stream, data, folder, iterations, ffc=True):
    cfg = Config.fromfile(CONFIGS / f"resnext3d-mini{'-ffc' * ffc}_1xb12-200_mini-hmdb51-{stream}-16f.py")
    changes = {f"{loader}.dataset.data_root": str(data)
               for loader in ("train_dataloader", "val_dataloader", "test_dataloader")}  # fmt: skip
    changes |= {
        "train_cfg.max_iters": iterations,
        "train_cfg.val_interval": iterations,
        "work_dir": str(folder / stream),
    }
    if stream == "mars":
        changes["model.teacher.init_cfg.checkpoint"] = str(folder / f"flow/iter_{iterations}.pth")
    cfg.merge_from_dict(changes)
    (folder / f"{stream}.py").write_text(cfg.pretty_text)
    return cfg


def trained(data, folder, iterations):
    """[config, checkpoint, ...] of the three streams, trained one after the other."""
    pairs = []
    for stream in ("rgb", "flow", "mars"):
        Runner.from_cfg(config_of(stream, data, folder, iterations)).train()
        pairs += [str(folder / f"{stream}.py"), str(folder / stream / f"iter_{iterations}.pth")]
    return pairs


def test_three_streams_train_and_are_scored_alone_and_together(data, tmp_path, capsys):
    pairs = trained(data, tmp_path, 2)
    evaluate_streams.main(evaluate_streams.parse_args([*pairs, "--output", str(tmp_path / "streams.json")]))
    found = json.loads((tmp_path / "streams.json").read_text())["results"]
    alone = [f"{stream}, {name}" for stream in ("rgb", "flow", "mars") for name in ("vote", "mean")]
    assert list(found) == [*alone, "together, mean", "together, joint vote", "together, averaged, then voted"]
    log = json.loads(next((tmp_path / "rgb").glob("*/vis_data/scalars.json")).read_text().splitlines()[-1])
    assert found["rgb, vote"]["accuracy/top1"] == pytest.approx(log["accuracy/top1"])  # the training's own validation
    assert "| together, joint vote |" in capsys.readouterr().out
    state = torch.load(pairs[5], weights_only=False)["state_dict"]
    assert len(state) == len(torch.load(pairs[1], weights_only=False)["state_dict"])  # without the teacher


def test_an_odd_number_of_files_and_other_videos_are_refused(data, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate_streams.parse_args(["a.py", "a.pth", "b.py"])
    assert "expected pairs CONFIG CHECKPOINT, got 3 files" in capsys.readouterr().err
    cfg = config_of("rgb", data, tmp_path, 1)
    Runner.from_cfg(cfg).train()
    other = Config.fromfile(tmp_path / "rgb.py")
    other.test_dataloader.dataset.subset = "train"
    (tmp_path / "other.py").write_text(other.pretty_text)
    checkpoint = str(tmp_path / "rgb/iter_1.pth")
    pairs = [str(tmp_path / "rgb.py"), checkpoint, str(tmp_path / "other.py"), checkpoint]
    with pytest.raises(UserError, match=r"other\.py: its test set holds other videos than that of .*rgb\.py"):
        evaluate_streams.main(evaluate_streams.parse_args(pairs))


@pytest.mark.slow
def test_the_commands_of_the_docs_teach_three_streams_the_six_motions(tmp_path):
    (script,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/how-to/video.md").read_text(), re.DOTALL)
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", PYTHONWARNINGS="ignore")
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "work_dirs/mini_hmdb51/streams.json").read_text())["results"]
    scores = {name: value["accuracy/top1"] for name, value in found.items()}
    flow, rgb = (
        next(value for name, value in scores.items() if f"{kind}-16f, vote" in name) for kind in ("flow", "rgb")
    )
    assert flow > 90 and rgb > 40 and scores["together, mean"] > 90
