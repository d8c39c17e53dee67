"""The Cityscapes configs: mmseg's own values, the protocol of the paper's Table 5, and short trainings of both."""

import itertools
import json
import os
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest
import torch
from repository import ROOT
from torch.nn import functional as F

pytest.importorskip("mmseg")

import mmseg
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS, TRANSFORMS

from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.segmentation import FFCNarrowASPPHead, NarrowASPPHead

CONFIGS = ROOT / "configs" / "cityscapes"
MMSEG = Path(mmseg.__file__).parent / ".mim"
TOOLBOX = "r101-d8_4xb2-40k_cityscapes-769x769_toolbox.py"
INSTANT = "r18-d8_1xb2-4_mini-cityscapes-128x128_toolbox_instant_test.py"
STOCK_LIKE = [
    f"{family}_{backbone}-d8_4xb2-{schedule}_cityscapes-{crop}.py"
    for family, backbone, schedule, crop in itertools.product(
        ("pspnet", "deeplabv3"), ("r50", "r101"), ("40k", "80k"), ("512x1024", "769x769")
    )
]

# Ours alone: the import that registers the heads, checks of weights and data, and what a killed training needs. None of
# it changes a number.
OURS = {"custom_imports", "custom_hooks"}
OUR_HOOKS = {"dataset_check", "ffc_scalars", "non_finite_loss", "preemption", "random_state", "safe_loading"}

# What was read in the toolbox, config key -> value; the same for both families.
PROTOCOL = {
    "model.type": "EncoderDecoder",
    "model.backbone.type": "ResNetV1c",
    "model.backbone.depth": 101,
    "model.backbone.stem_channels": 128,
    "model.backbone.contract_dilation": False,
    "model.backbone.dilations": (1, 1, 2, 4),
    "model.backbone.strides": (1, 2, 1, 1),
    "model.backbone.norm_cfg": dict(type="SyncBN", requires_grad=True),
    "model.backbone.norm_eval": False,
    "model.decode_head.channels": 512,
    "model.decode_head.dropout_ratio": 0.1,
    "model.decode_head.num_classes": 19,
    "model.decode_head.norm_cfg": dict(type="SyncBN", requires_grad=True),
    "model.decode_head.act_cfg": dict(type="LeakyReLU", negative_slope=0.01),
    "model.decode_head.align_corners": True,
    "model.decode_head.loss_decode.type": "CrossEntropyLoss",
    "model.decode_head.loss_decode.loss_weight": 1.0,
    "model.decode_head.loss_decode.avg_non_ignore": True,
    "model.auxiliary_head.type": "FCNHead",
    "model.auxiliary_head.in_channels": 1024,
    "model.auxiliary_head.channels": 512,
    "model.auxiliary_head.num_convs": 1,
    "model.auxiliary_head.concat_input": False,
    "model.auxiliary_head.dropout_ratio": 0.1,
    "model.auxiliary_head.act_cfg": dict(type="LeakyReLU", negative_slope=0.01),
    "model.auxiliary_head.align_corners": True,
    "model.auxiliary_head.loss_decode.loss_weight": 0.4,
    "model.auxiliary_head.loss_decode.avg_non_ignore": True,
    "model.test_cfg": dict(mode="slide", crop_size=(769, 769), stride=(513, 513)),
    "model.data_preprocessor.mean": [104.00698793, 116.66876762, 122.67891434],
    "model.data_preprocessor.std": [1.0, 1.0, 1.0],
    "model.data_preprocessor.bgr_to_rgb": False,
    "model.data_preprocessor.size": (769, 769),
    "model.data_preprocessor.pad_val": 0,
    "model.data_preprocessor.seg_pad_val": 255,
    "optim_wrapper.type": "OptimWrapper",
    "optim_wrapper.clip_grad": None,
    "optim_wrapper.optimizer": dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0005),
    "param_scheduler": [dict(type="PolyLR", power=0.9, eta_min=0, begin=0, end=40000, by_epoch=False)],
    "train_cfg.max_iters": 40000,
    "train_dataloader.batch_size": 2,
    "train_dataloader.dataset.data_prefix.img_path": "leftImg8bit/train",
    "train_dataloader.dataset.pipeline.3": dict(type="RandomCrop", crop_size=(769, 769), cat_max_ratio=1.0),
    "train_dataloader.dataset.pipeline.4": dict(type="RandomFlip", prob=0.5),
    "test_dataloader.dataset.data_prefix.img_path": "leftImg8bit/val",
    "test_evaluator.iou_metrics": ["mIoU"],
}
SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1)


def config(name):
    return Config.fromfile(CONFIGS / name)


def on_meta(name):
    """The model of a config without numbers."""
    init_default_scope("mmseg")
    with torch.device("meta"):
        return MODELS.build(config(name).model)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_every_stock_config_has_an_ffc_twin():
    names = {*STOCK_LIKE, *(f"{family}_{end}" for family in ("pspnet", "deeplabv3") for end in (TOOLBOX, INSTANT))}
    assert {path.name for path in CONFIGS.glob("*.py")} == names | {name.replace("_", "-ffc_", 1) for name in names}


@pytest.mark.parametrize("name", STOCK_LIKE)
def test_stock_config_equals_mmsegs_own(name):
    ours = config(name).to_dict()
    theirs = Config.fromfile(MMSEG / "configs" / name.partition("_")[0] / name).to_dict()
    hooks = {name: hook for name, hook in ours["default_hooks"].items() if name not in OUR_HOOKS}
    assert len(ours["default_hooks"]) == len(hooks) + len(OUR_HOOKS)
    assert hooks["checkpoint"].pop("type") == "AtomicCheckpointHook"
    ours["default_hooks"] = {**hooks, "checkpoint": {**hooks["checkpoint"], "type": "CheckpointHook"}}
    assert {key: value for key, value in ours.items() if key not in OURS} == theirs


@pytest.mark.parametrize("name", ["pspnet", "pspnet-ffc", "deeplabv3", "deeplabv3-ffc"])
def test_toolbox_config_is_the_protocol(name):
    cfg = config(f"{name}_{TOOLBOX}").to_dict()
    found = {
        key: reduce(lambda node, part: node[int(part) if part.isdigit() else part], key.split("."), cfg)
        for key in PROTOCOL
    }
    assert found == PROTOCOL
    train = cfg["train_dataloader"]["dataset"]["pipeline"]
    kinds = ["LoadImageFromFile", "LoadAnnotations", "RandomChoice", "RandomCrop", "RandomFlip", "PackSegInputs"]
    assert [step["type"] for step in train] == kinds
    choices = train[2]["transforms"]
    assert choices == [[dict(type="Resize", scale_factor=scale, keep_ratio=True)] for scale in SCALES]
    assert "prob" not in train[2]  # every scale is as probable as the others
    for loader in ("val_dataloader", "test_dataloader"):
        test = cfg[loader]["dataset"]["pipeline"]
        assert [step["type"] for step in test] == ["LoadImageFromFile", "LoadAnnotations", "PackSegInputs"]


@pytest.mark.parametrize(
    ("family", "shapes", "head_parameters"),
    [
        (
            "pspnet",
            {
                **{f"psp_modules.{i}.1.conv.weight": (512, 2048, 1, 1) for i in range(4)},
                "bottleneck.conv.weight": (512, 4096, 3, 3),
            },
            4 * (2048 * 512 + 2 * 512) + 9 * 4096 * 512 + 2 * 512 + 512 * 19 + 19,
        ),
        (
            "deeplabv3",
            {
                "image_pool.1.conv.weight": (256, 2048, 1, 1),
                "aspp_modules.0.conv.weight": (256, 2048, 1, 1),
                **{f"aspp_modules.{i}.conv.weight": (256, 2048, 3, 3) for i in (1, 2, 3)},
                "bottleneck.conv.weight": (512, 1280, 1, 1),
            },
            2048 * 256 * (2 + 3 * 9) + 5 * 2 * 256 + 1280 * 512 + 2 * 512 + 512 * 19 + 19,
        ),
    ],
)
def test_toolbox_heads_have_the_sources_shapes(family, shapes, head_parameters):
    stock, ffc = on_meta(f"{family}_{TOOLBOX}"), on_meta(f"{family}-ffc_{TOOLBOX}")
    convolutions = {
        name: tuple(tensor.shape)
        for name, tensor in stock.decode_head.state_dict().items()
        if tensor.dim() == 4 and "conv_seg" not in name
    }
    assert convolutions == shapes
    assert stock.decode_head.conv_seg.weight.shape == (19, 512, 1, 1)
    assert parameters(stock.decode_head) == head_parameters
    assert parameters(ffc) - parameters(stock) == 2 * 512 * 3 == 3072
    assert stock.auxiliary_head.convs[0].conv.weight.shape == (512, 1024, 3, 3)
    assert stock.auxiliary_head.conv_seg.weight.shape == (19, 512, 1, 1)
    assert [stock.backbone.stem[i].weight.shape for i in (0, 3, 6)] == [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3)]
    for layer, dilation in ((stock.backbone.layer3, 2), (stock.backbone.layer4, 4)):
        assert {block.conv2.dilation for block in layer} == {(dilation, dilation)}
    activations = [m for m in stock.decode_head.modules() if type(m).__name__ == "LeakyReLU"]
    assert len(activations) == 5 + (family == "deeplabv3")
    assert {m.negative_slope for m in activations} == {0.01}


@pytest.mark.parametrize(
    ("family", "counts"),
    [("pspnet", (48_975_494, 67_967_622, 70_436_838)), ("deeplabv3", (68_113_030, 87_105_158, 63_226_342))],
)
def test_parameter_counts_are_those_of_the_docs(family, counts):
    ends = ("r50-d8_4xb2-40k_cityscapes-769x769.py", "r101-d8_4xb2-40k_cityscapes-769x769.py", TOOLBOX)
    page = (CONFIGS.parent.parent / "docs" / "background" / "protocols.md").read_text()
    for ffc, overhead in (("", 0), ("-ffc", 3072)):
        found = [parameters(on_meta(f"{family}{ffc}_{end}")) for end in ends]
        assert found == [count + overhead for count in counts]
        assert all(f"{count:,}" in page for count in found)


@pytest.mark.parametrize("head_type", [NarrowASPPHead, FFCNarrowASPPHead])
def test_narrow_aspp_head_equals_the_literal_operations(head_type):
    options = dict(num_filters=0) if head_type is FFCNarrowASPPHead else {}
    head = head_type(
        branch_channels=4, channels=6, dilations=(1, 2, 3, 5), in_channels=5, num_classes=3, align_corners=True,
        norm_cfg=dict(type="BN"), act_cfg=dict(type="LeakyReLU", negative_slope=0.01), **options,
    ).eval()  # fmt: skip
    for tensor in head.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.0).sub_(0.1)
    w = head.state_dict()

    def block(x, name, dilation=0):
        x = F.conv2d(x, w[f"{name}.conv.weight"], padding=dilation, dilation=max(dilation, 1))
        mean, var = w[f"{name}.bn.running_mean"], w[f"{name}.bn.running_var"]
        scale = w[f"{name}.bn.weight"] / (var + 1e-5).sqrt()
        x = (x - mean[:, None, None]) * scale[:, None, None] + w[f"{name}.bn.bias"][:, None, None]
        return torch.where(x > 0, x, 0.01 * x)

    x = torch.randn(2, 5, 9, 7)
    pooled = block(x.mean((2, 3), keepdim=True), "image_pool.1").expand(-1, -1, 9, 7)
    branches = [block(x, f"aspp_modules.{i}", dilation) for i, dilation in enumerate((0, 2, 3, 5))]
    feature = block(torch.cat([pooled, *branches], 1), "bottleneck")
    expected = F.conv2d(feature, w["conv_seg.weight"], w["conv_seg.bias"])
    torch.testing.assert_close(head([x]), expected)


def test_ffc_narrow_aspp_head_votes_over_the_stock_heads_feature():
    options = dict(in_channels=5, branch_channels=4, channels=6, num_classes=3, norm_cfg=None)
    head = FFCNarrowASPPHead(**options).eval()
    x = torch.randn(2, 5, 9, 7)
    feature = head._forward_feature([x])
    assert feature.shape == (2, 6, 9, 7)
    assert head.conv_seg.outputs(feature).shape == (7, 2, 3, 9, 7)
    torch.testing.assert_close(head([x]), head.conv_seg(feature))


def test_toolbox_scales_are_drawn_evenly_and_keep_the_labels():
    init_default_scope("mmseg")
    resize = TRANSFORMS.build(config(f"pspnet_{TOOLBOX}").train_pipeline[2])
    image = torch.zeros(20, 40, 3, dtype=torch.uint8).numpy()
    labels = (torch.arange(800).reshape(20, 40) % 19).to(torch.uint8).numpy()
    drawn = []
    for _ in range(1500):
        result = resize(dict(img=image, gt_seg_map=labels, seg_fields=["gt_seg_map"]))
        assert result["gt_seg_map"].shape == result["img"].shape[:2]
        assert set(result["gt_seg_map"].flat) <= set(range(19))  # nearest neighbour: no mixtures
        drawn.append(result["img"].shape[:2])
    counts = {(round(20 * scale), round(40 * scale)): 0 for scale in SCALES}
    for size in drawn:
        counts[size] += 1
    assert min(counts.values()) > 50 and max(counts.values()) < 150  # 100 expected; a deviation of 50 has 5 sigma


def test_toolbox_input_is_bgr_minus_the_mean_and_padding_is_ignored():
    cfg = config(f"pspnet_{INSTANT}")
    init_default_scope("mmseg")
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    pack = TRANSFORMS.build(cfg.train_pipeline[5])
    image = torch.randint(0, 256, (90, 128, 3), dtype=torch.uint8)  # 0.7 times the size: lower than the crop
    labels = torch.randint(0, 19, (90, 128), dtype=torch.uint8)
    packed = pack(dict(img=image.numpy(), gt_seg_map=labels.numpy(), seg_fields=["gt_seg_map"]))
    batch = preprocess(dict(inputs=[packed["inputs"]], data_samples=[packed["data_samples"]]), training=True)
    padded = batch["inputs"][0]
    mean = torch.tensor([104.00698793, 116.66876762, 122.67891434])
    torch.testing.assert_close(padded[:, :90], (image - mean).permute(2, 0, 1))
    assert padded.shape == (3, 128, 128) and not padded[:, 90:].any()
    target = batch["data_samples"][0].gt_sem_seg.data[0]
    assert torch.equal(target[:90], labels.long()) and (target[90:] == 255).all()


def test_toolbox_loss_is_torchs_mean_over_labelled_pixels():
    init_default_scope("mmseg")
    loss = MODELS.build(config(f"pspnet_{TOOLBOX}").model.decode_head.loss_decode)
    logits, labels = torch.randn(2, 19, 5, 6), torch.randint(0, 19, (2, 5, 6))
    labels[0] = 255
    expected = torch.nn.CrossEntropyLoss(ignore_index=255)(logits, labels)
    torch.testing.assert_close(loss(logits, labels, ignore_index=255), expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cityscapes")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 4, 2)
    return folder


@pytest.mark.parametrize(("family", "accumulate"), [("pspnet", 1), ("deeplabv3", 2)])
def test_instant_test_trains_and_evaluates_through_mmsegs_train_script(folder, family, accumulate):
    command = [
        sys.executable, MMSEG / "tools" / "train.py", CONFIGS / f"{family}-ffc_{INSTANT}", "--work-dir",
        folder / family, "--cfg-options", "randomness.seed=1", "default_hooks.checkpoint.interval=1",
        f"optim_wrapper.accumulative_counts={accumulate}",
    ]  # fmt: skip
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "SyncBatchNorm (SyncBN) layers in the model will be automatically reverted" in done.stdout + done.stderr
    lines = next((folder / family).glob("*/vis_data/scalars.json")).read_text().splitlines()
    steps = [entry for entry in map(json.loads, lines) if "loss" in entry]
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert all(0 < step["loss"] < 20 for step in steps)
    assert steps[0]["lr"] == 0.01 and steps[3]["lr"] == 0
    scores = [entry for entry in map(json.loads, lines) if "mIoU" in entry]
    assert len(scores) == 1 and 0 <= scores[0]["mIoU"] <= 100

    def filters_after(iteration):
        weights = torch.load(folder / family / f"iter_{iteration}.pth", weights_only=False)["state_dict"]
        return weights["decode_head.conv_seg.filters.0.weight"]

    history = [torch.ones_like(filters_after(1))] + [filters_after(i) for i in (1, 2, 3)]
    moved = [not torch.equal(before, after) for before, after in itertools.pairwise(history)]
    assert moved == [i % accumulate == 0 for i in (1, 2, 3)]  # the optimizer steps in every second iteration only
