"""Per-output scalars while a segmentor trains: right, in the framework's files, and without effect on the training."""

import json
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from literal_scalars import literal_scalars
from repository import ROOT
from torch.utils.checkpoint import checkpoint

pytest.importorskip("mmseg")

from mmengine.registry import HOOKS, init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from small_segmentor import SIZE, K, N, config, disagreeing, images

from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.openmmlab.training import scalars as shared_scalars
from ffc_dense.runs.mmengine_runs import read
from ffc_dense.segmentation import FFCScalarsHook
from ffc_dense.segmentation.training import scalars as training_scalars

pytestmark = pytest.mark.filterwarnings("ignore")

CONFIG = ROOT / "configs" / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
OUTPUTS = [*(f"out{i}" for i in range(1, 8)), "mean", "vote"]
SCALARS = [f"ffc/{name}/accuracy" for name in OUTPUTS] + [f"ffc/stage{i}/active_units" for i in range(4)]


def model_of(**options):
    init_default_scope("mmseg")
    torch.manual_seed(0)
    return disagreeing(MODELS.build(config(**options))).train()


def labelled(n=N, size=SIZE):
    torch.manual_seed(2)
    samples = [SegDataSample(metainfo=dict(img_shape=size, ori_shape=size)) for _ in range(n)]
    for sample in samples:
        labels = torch.randint(0, K + 1, (1, *size))
        sample.gt_sem_seg = PixelData(data=torch.where(labels == K, 255, labels))
    return samples


class Runner(SimpleNamespace):
    """What the hook asks of mmengine's Runner."""

    def __init__(self, model, iteration):
        super().__init__(model=model, iter=iteration, visualizer=self, written=[])

    def add_scalars(self, scalars, step):
        self.written.append((step, dict(scalars)))


def step(model, interval, iteration=0, amp=False, **options):
    """Losses, gradients and what was written in one step."""
    torch.manual_seed(0)
    hook, runner = FFCScalarsHook(interval, **options), Runner(model, iteration)
    model.zero_grad()
    hook.before_train_iter(runner, 0)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        losses = model.loss(images(), labelled())
    sum(value for name, value in losses.items() if "loss" in name).backward()
    hook.after_train_iter(runner, 0)
    return losses, [parameter.grad for parameter in model.parameters()], runner.written


@pytest.mark.parametrize("setting", ["plain", "amp", "checkpointing", "cascade"])
def test_a_step_has_the_same_losses_and_gradients_with_the_hook(setting):
    model = model_of(segmentor="CascadeEncoderDecoder") if setting == "cascade" else model_of()
    if setting == "checkpointing":
        head = model.decode_head
        head.cls_seg = partial(checkpoint, head.cls_seg, use_reentrant=False)
    amp = setting == "amp"
    state = {key: value.clone() for key, value in model.state_dict().items()}
    losses, gradients, nothing = step(model, 0, amp=amp)
    gradients = [each if each is None else each.clone() for each in gradients]
    model.load_state_dict(state)  # running statistics of the norms
    with_hook, found, written = step(model, 1, amp=amp)
    assert all(torch.equal(losses[name], with_hook[name]) for name in losses)
    for one, other in zip(gradients, found, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert nothing == [] and [at for at, _ in written] == [1]
    assert set(written[0][1]) == set(SCALARS)


def test_a_layer_put_in_the_place_of_conv_seg_trains_without_scalars():
    model = model_of()
    model.decode_head.conv_seg = torch.nn.Conv2d(8, K, 1)
    assert step(model, 1)[2] == []


def test_the_numbers_are_those_of_every_pixel_where_all_are_looked_at(literal):
    model = model_of(dropout_ratio=0)
    seen = []
    model.decode_head.conv_seg.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    found = step(model, 1, pixels=10**6)[2][0][1]
    layer, feature = model.decode_head.conv_seg, seen[0]
    height, width = feature.shape[-2:]
    labels = torch.empty(N, height, width, dtype=torch.long)
    for i, sample in enumerate(labelled()):
        for y in range(height):
            for x in range(width):  # the label at the centre of the feature's cell
                row, column = int((y + 0.5) * SIZE[0] / height), int((x + 0.5) * SIZE[1] / width)
                labels[i, y, x] = sample.gt_sem_seg.data[0, row, column]
    expected = literal_scalars(literal, layer, feature, labels, labels != 255)
    assert found == pytest.approx({f"ffc/{name}": value for name, value in expected.items()})
    assert found.keys() == set(SCALARS)


@pytest.mark.parametrize("shape", [(2, 8, 12), (1, 1, 1), (3, 7, 1), (40, 5, 5), (2, 64, 128)])
@pytest.mark.parametrize("pixels", [1, 7, 100, 4096])
def test_a_look_takes_at_most_so_many_pixels_and_their_own_labels(shape, pixels):
    n, h, w = shape
    place = torch.arange(n * h * w).reshape(n, 1, h, w)
    samples = [SimpleNamespace(gt_sem_seg=SimpleNamespace(data=each.repeat_interleave(4, 1).repeat_interleave(4, 2)))
               for each in place]  # fmt: skip
    x, labels = training_scalars._sampled(place.float(), samples, -5, pixels)
    assert torch.equal(x[:, 0].long(), labels)
    assert 1 <= labels.numel() <= pixels
    assert labels.numel() == n * h * w or pixels < n * h * w


def test_between_two_looks_and_afterwards_nothing_of_the_hook_is_on_the_model():
    model = model_of()
    head, hook = model.decode_head, FFCScalarsHook(10)
    for iteration, looks in ((0, False), (8, False), (9, True), (10, False), (19, True)):
        runner = Runner(model, iteration)
        hook.before_train_iter(runner, 0)
        assert ("loss_by_feat" in vars(head), bool(head.conv_seg._forward_pre_hooks)) == (looks, looks)
        hook.after_train_iter(runner, 0)
        assert "loss_by_feat" not in vars(head) and not head.conv_seg._forward_pre_hooks


def test_other_ranks_and_stock_models_are_left_alone(monkeypatch):
    assert step(model_of(head="PSPHead"), 1)[2] == []
    monkeypatch.setattr(shared_scalars, "is_main_process", lambda: False)
    assert step(model_of(), 1)[2] == []


@pytest.mark.parametrize("options", [dict(interval=-1), dict(interval=1.5), dict(interval=True), dict(pixels=0)])
def test_options_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=f"FFCScalarsHook: {next(iter(options))} must be"):
        HOOKS.build(dict(type="FFCScalarsHook", **options))


def test_a_training_writes_them_to_every_backend_and_stays_readable(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    make_mini_cityscapes(tmp_path / "data" / "mini_cityscapes", 4, 1)
    (tmp_path / "pspnet-ffc_tensorboard.py").write_text(
        f"_base_ = {str(CONFIG)!r}\n"
        "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])\n"
    )
    command = [sys.executable, ROOT / "tools" / "mmseg_tool.py", "train", "pspnet-ffc_tensorboard.py", "--work-dir",
               "out", "--cfg-options", "train_cfg.max_iters=4", "train_cfg.val_interval=100",
               "default_hooks.ffc_scalars.interval=2", "train_dataloader.batch_size=2"]  # fmt: skip
    environment = dict(os.environ, PYTHONWARNINGS="ignore", CUDA_VISIBLE_DEVICES="-1")
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in next(tmp_path.glob("out/*/vis_data/scalars.json")).read_text().splitlines()]
    found = [line for line in lines if "ffc/out1/accuracy" in line]
    assert [line["step"] for line in found] == [2, 4] and set(SCALARS) <= found[0].keys()
    accumulator = events.EventAccumulator(str(next(tmp_path.glob("out/*/vis_data"))))
    accumulator.Reload()
    assert set(SCALARS) <= set(accumulator.Tags()["scalars"])
    assert read(tmp_path / "out").iteration == 4  # tools/results_table.py
