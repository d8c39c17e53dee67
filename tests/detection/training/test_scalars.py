"""Per-output scalars while a detector trains: right, in the framework's files, and without effect on the training."""

import importlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from literal_scalars import literal_scalars
from torch.utils.checkpoint import checkpoint

pytest.importorskip("detectron2")

from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from repository import ROOT
from small_detector import small_cfg
from tiny_training import make_dataset, tiny_cfg, train

from ffc_dense.detection.training.scalars import OutputScalarsHook
from ffc_dense.errors import UserError

OUTPUTS = [*(f"out{i}" for i in range(1, 8)), "mean", "vote"]
SCALARS = [f"ffc/{name}/accuracy" for name in OUTPUTS] + [f"ffc/stage{i}/active_units" for i in range(4)]


@pytest.fixture(scope="module")
def trainer_class():
    """That of tools/train_net.py."""
    return importlib.import_module("ffc_dense.detection.commands.train").Trainer


@pytest.fixture(scope="module")
def runs(tmp_path_factory, trainer_class):
    """{period: trainer} after four iterations on the same data from the same seed."""
    root = tmp_path_factory.mktemp("scalars")
    name = make_dataset(root / "data")
    found = {}
    for period in (0, 1, 2):
        opts = ["DATASETS.TRAIN", (name,), "SOLVER.MAX_ITER", 4, "MODEL.ROI_BOX_HEAD.FFC.SCALARS_PERIOD", period]
        found[period] = train(tiny_cfg(root / str(period), *opts), kind=trainer_class)
    return found


def series(trainer, name):
    return [(iteration, value) for value, iteration in trainer.storage.history(name).values()]


def test_losses_and_weights_are_those_of_a_training_without_scalars(runs):
    names = [name for name in runs[0].storage.histories() if "loss" in name]
    assert len(names) >= 5
    for period in (1, 2):
        for name in names:
            assert series(runs[period], name) == series(runs[0], name)
        states = [runs[each].model.state_dict() for each in (0, period)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_scalars_come_every_period_and_the_mean_is_detectron2s_own_accuracy(runs):
    assert not any(name.startswith("ffc/") for name in runs[0].storage.histories())
    assert [iteration for iteration, _ in series(runs[2], "ffc/out3/accuracy")] == [1, 3]
    for name in SCALARS:
        assert len(series(runs[1], name)) == 4
    own, ours = series(runs[1], "fast_rcnn/cls_accuracy"), series(runs[1], "ffc/mean/accuracy")
    assert [value for _, value in ours] == pytest.approx([value for _, value in own])
    assert all(0 <= value <= 16 for _, value in series(runs[1], "ffc/stage0/active_units"))


def test_metrics_json_and_tensorboard_hold_them(runs):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = Path(runs[1].cfg.OUTPUT_DIR)
    last = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()][-1]
    assert set(SCALARS) <= last.keys()
    accumulator = events.EventAccumulator(str(folder))
    accumulator.Reload()
    assert set(SCALARS) <= set(accumulator.Tags()["scalars"])
    assert accumulator.Scalars("ffc/out3/accuracy")[-1].value == pytest.approx(last["ffc/out3/accuracy"])


# --- one training step, in other settings -----------------------------------------------------------------------------


def labelled_images():
    generator = torch.Generator().manual_seed(1)
    instances = Instances((64, 64), gt_boxes=Boxes(torch.tensor([[4.0, 4, 30, 30], [20, 30, 60, 60]])),
                          gt_classes=torch.tensor([3, 5]))  # fmt: skip
    return [{"image": torch.rand(3, 64, 64, generator=generator) * 255, "instances": instances} for _ in range(2)]


def step(model, period, iteration=0, amp=False):
    """Losses, gradients and scalars of one step."""
    torch.manual_seed(0)
    hook = OutputScalarsHook(model, period)
    hook.trainer = SimpleNamespace(iter=iteration)
    model.zero_grad()
    with EventStorage(iteration) as storage:
        hook.before_step()
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            losses = model(labelled_images())
        sum(losses.values()).backward()
        hook.after_step()
        return losses, [parameter.grad for parameter in model.parameters()], storage.latest()


@pytest.mark.parametrize("setting", ["plain", "amp", "checkpointing", "cascade", "sigmoid"])
def test_a_step_has_the_same_losses_and_gradients_with_the_hook(setting):
    torch.manual_seed(0)
    roi_heads = "FFCCascadeROIHeads" if setting == "cascade" else "FFCStandardROIHeads"
    sigmoid = ["MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True] if setting == "sigmoid" else []
    model = build_model(small_cfg(roi_heads, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 30, *sigmoid)).train()
    if setting == "checkpointing":
        predictor = model.roi_heads.box_predictor
        predictor.forward = partial(checkpoint, predictor.forward, use_reentrant=False)
    amp = setting == "amp"
    (losses, gradients, nothing), (with_hook, found, scalars) = (step(model, period, amp=amp) for period in (0, 1))
    assert all(torch.equal(losses[name], with_hook[name]) for name in losses)
    for one, other in zip(gradients, found, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    names = {name for name in scalars if "ffc/" in name}
    if setting == "cascade":
        assert names == {f"stage{k}/{name}" for k in range(3) for name in SCALARS}
    elif setting == "sigmoid":
        assert names == {name for name in SCALARS if "active_units" in name}
    else:
        assert names == set(SCALARS)
    assert not any("ffc/" in name for name in nothing)


def test_the_numbers_are_those_of_the_proposals_that_the_box_head_trains_on(literal, scramble):
    torch.manual_seed(0)
    model = scramble(build_model(small_cfg("FFCStandardROIHeads", "MODEL.RPN.POST_NMS_TOPK_TRAIN", 30)).train())
    heads, seen, sampled = model.roi_heads, [], []
    layer = heads.box_predictor.cls_score
    torch.nn.init.normal_(layer.weight)  # with the initial ones the outputs hardly disagree
    heads.box_predictor.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    sample = heads.label_and_sample_proposals
    heads.label_and_sample_proposals = lambda *args: sampled.append(sample(*args)) or sampled[-1]
    found = {name: value for name, (value, _) in step(model, 1)[2].items() if name.startswith("ffc/")}
    labels = torch.cat([image.gt_classes for image in sampled[0]])
    expected = literal_scalars(literal, layer, seen[0], labels, labels >= 0)
    assert found == pytest.approx({f"ffc/{name}": value for name, value in expected.items()})
    assert found.keys() == set(SCALARS) and len({found[f"ffc/{name}/accuracy"] for name in OUTPUTS}) > 2


def test_between_two_looks_and_afterwards_nothing_of_the_hook_is_on_the_model():
    model = build_model(small_cfg("FFCStandardROIHeads", "MODEL.RPN.POST_NMS_TOPK_TRAIN", 30)).train()
    predictor = model.roi_heads.box_predictor
    hook = OutputScalarsHook(model, 10)
    for iteration, looks in ((0, False), (8, False), (9, True), (10, False), (19, True)):
        hook.trainer = SimpleNamespace(iter=iteration)
        hook.before_step()
        assert ("losses" in vars(predictor), bool(predictor._forward_pre_hooks)) == (looks, looks)
        hook.after_step()
        assert "losses" not in vars(predictor) and not predictor._forward_pre_hooks


def test_other_ranks_and_stock_models_are_left_alone(monkeypatch):
    stock = build_model(small_cfg("StandardROIHeads", "MODEL.RPN.POST_NMS_TOPK_TRAIN", 30)).train()
    assert not any("ffc" in name for name in step(stock, 1)[2])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    model = build_model(small_cfg("FFCStandardROIHeads", "MODEL.RPN.POST_NMS_TOPK_TRAIN", 30)).train()
    assert OutputScalarsHook(model, 1).predictors == []


@pytest.mark.parametrize("period", [-1, 2.5, True, "100"])
def test_a_period_that_is_no_number_of_iterations_is_refused(period):
    with pytest.raises(UserError, match="SCALARS_PERIOD"):
        OutputScalarsHook(torch.nn.Linear(1, 1), period)


@pytest.mark.slow
def test_two_processes_train_with_scalars(tmp_path):
    make_dataset(tmp_path / "mini_coco")
    command = [sys.executable, ROOT / "tools" / "train_net.py", "--num-gpus", 2, "--config-file",
               ROOT / "configs" / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml", "MODEL.DEVICE", "cpu",
               "SOLVER.MAX_ITER", 3, "SOLVER.IMS_PER_BATCH", 2, "MODEL.ROI_BOX_HEAD.FFC.SCALARS_PERIOD", 1,
               "TEST.EVAL_PERIOD", 0, "OUTPUT_DIR", "out"]  # fmt: skip
    environment = dict(os.environ, DETECTRON2_DATASETS=str(tmp_path), OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (tmp_path / "out" / "metrics.json").read_text().splitlines()
    assert any(set(SCALARS) <= json.loads(line).keys() for line in lines)
