"""configs/coco train and evaluate by both command lines, under mixed precision, and not from half a checkpoint."""

import functools
import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import LazyConfig
from detectron2.engine import AMPTrainer
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from repository import ROOT
from small_detector import small_cfg

from ffc_dense.errors import UserError
from ffc_dense.minidata import make_mini_coco

COCO = ROOT / "configs" / "coco"
FILTER = "roi_heads.box_predictor.cls_score.filters.0.weight"
# What an *_instant_test.yaml changes, in the LazyConfig's words.
LAZY_INSTANT_TEST = """
train.init_checkpoint= train.max_iter=4 train.checkpointer.period=2 train.output_dir=lazy optimizer.lr=0.002
model.roi_heads.num_classes=10 model.roi_heads.batch_size_per_image=16 model.pixel_std=[57.375,57.12,58.395]
model.roi_heads.box_predictor.test_score_thresh=0.0 model.proposal_generator.post_nms_topk=[50,10]
model.backbone.bottom_up.freeze_at=0 model.backbone.bottom_up.stages.norm=BN model.backbone.bottom_up.stem.norm=BN
dataloader.train.dataset.names=mini_coco_2017_train dataloader.test.dataset.names=mini_coco_2017_val
dataloader.train.total_batch_size=2 dataloader.train.num_workers=0 dataloader.test.num_workers=0
dataloader.train.mapper.augmentations.0.short_edge_length=[96] dataloader.train.mapper.augmentations.0.max_size=128
dataloader.test.mapper.augmentations.0.short_edge_length=96 dataloader.test.mapper.augmentations.0.max_size=128
""".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    make_mini_coco(folder / "data" / "mini_coco", 4, 2)
    return folder


def run(folder, tool, config, *arguments):
    environment = dict(os.environ, DETECTRON2_DATASETS="data", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    command = [sys.executable, ROOT / "tools" / tool, "--config-file", COCO / config, *arguments]
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def metrics(out):
    """The last value of every metric: losses come on one line, the scores on the next."""
    lines = (out / "metrics.json").read_text().splitlines()
    return {name: value for line in lines for name, value in json.loads(line).items()}


@pytest.mark.parametrize(
    "family",
    [
        "faster_rcnn_R_50_FPN",
        pytest.param("faster_rcnn_R_50_C4", marks=pytest.mark.slow),
        pytest.param("mask_rcnn_R_50_FPN", marks=pytest.mark.slow),
        pytest.param("cascade_mask_rcnn_R_50_FPN", marks=pytest.mark.slow),
    ],
)
def test_an_instant_test_trains_evaluates_and_checks_its_result(folder, family):
    output = run(folder, "train_net.py", f"{family}_instant_test_ffc.yaml")
    assert "Results verification passed" in output  # TEST.EXPECTED_RESULTS: a number, not nan
    out = folder / "work_dirs" / f"{family}_instant_test_ffc"
    last = metrics(out)
    assert 0 < last["total_loss"] < 100 and "bbox/AP" in last and ("segm/AP" in last) == ("mask" in family)
    assert (out / "inference" / "coco_instances_results.json").stat().st_size > 100
    assert "model_final.pth" == (out / "last_checkpoint").read_text()


@pytest.mark.slow
def test_the_lazy_config_trains_resumes_and_evaluates(folder):
    command = (folder, "lazyconfig_train_net.py", "faster_rcnn_R_50_FPN_1x_ffc.py")
    run(*command, *LAZY_INSTANT_TEST, "train.max_iter=2")
    assert "Starting training from iteration 2" in run(*command, "--resume", *LAZY_INSTANT_TEST)
    last = metrics(folder / "lazy")
    assert last["iteration"] >= 3 and 0 < last["total_loss"] < 100 and "bbox/AP" in last
    weights = torch.load(folder / "lazy" / "model_final.pth", weights_only=True)["model"]
    assert not torch.equal(weights[FILTER], torch.ones_like(weights[FILTER]))
    run(*command, "--eval-only", *LAZY_INSTANT_TEST, "train.init_checkpoint=lazy/model_final.pth")
    assert json.loads((folder / "lazy" / "results.json").read_text())["bbox"]["AP"] == last["bbox/AP"]


def lazy_tool():
    return importlib.import_module("ffc_dense.detection.commands.train_lazy")


def test_the_lazy_runner_refuses_to_evaluate_without_the_filters(tmp_path):
    cfg = LazyConfig.load(str(COCO / "faster_rcnn_R_50_FPN_1x_ffc.py"))
    cfg = LazyConfig.apply_overrides(cfg, ["train.device=cpu", "model.roi_heads.box_head.fc_dims=[8,8]"])
    cfg.model.roi_heads.box_predictor.input_shape.channels = 8
    tool = lazy_tool()
    weights = tool.build_model(cfg).state_dict()
    assert FILTER in weights
    torch.save({"model": {k: v for k, v in weights.items() if ".filters." not in k}}, tmp_path / "stock.pth")
    cfg.train.init_checkpoint = str(tmp_path / "stock.pth")
    with pytest.raises(UserError, match=rf"cannot be evaluated with this config: {FILTER}"):
        tool.evaluate(cfg, resume=False)


def sample():
    objects = Instances((64, 96), gt_boxes=Boxes(torch.tensor([[8.0, 8, 30, 30], [40, 10, 80, 50]])))
    objects.gt_classes = torch.tensor([1, 4])
    return {"image": torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8), "instances": objects}


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "heads",
    [
        "FFCStandardROIHeads",
        pytest.param("FFCRes5ROIHeads", marks=pytest.mark.slow),
        pytest.param("FFCCascadeROIHeads", marks=pytest.mark.slow),
    ],
)
def test_detectron2s_mixed_precision_loop_trains_ffc(monkeypatch, heads, precision):
    """AMPTrainer (SOLVER.AMP.ENABLED, train.amp.enabled) with the CPU's autocast and gradient scaler for CUDA's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda.amp, "autocast", functools.partial(torch.autocast, "cpu"))
    model = build_model(small_cfg(heads))
    seen = []
    predictors = [module for name, module in model.named_modules() if name.endswith("cls_score")]
    for predictor in predictors:
        predictor.register_forward_hook(lambda layer, args, output: seen.append((args[0].dtype, output.dtype)))
    filters = {name: p.detach().clone() for name, p in model.named_parameters() if ".filters." in name}
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    trainer = AMPTrainer(model, [[sample(), sample()]] * 3, optimizer, grad_scaler=scaler, precision=precision)
    with EventStorage() as storage:
        for trainer.iter in range(3):
            trainer.run_step()
        losses = [value for value, _ in storage.history("total_loss").values()]
    assert len(losses) == 3 and all(0 < loss < 20 for loss in losses)
    assert scaler.get_scale() == 1024.0  # halved whenever a gradient is not finite
    assert len(seen) == 3 * len(predictors) and {dtypes[0] for dtypes in seen} == {precision}
    now = dict(model.named_parameters())
    assert all(now[name].isfinite().all() and not torch.equal(now[name], old) for name, old in filters.items())
