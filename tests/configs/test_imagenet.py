"""The ImageNet configs: what the paper's Tables 2 and 3 count, what the authors' code and He et al. set."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from class_folders import write_images
from PIL import Image
from repository import ROOT

pytest.importorskip("mmpretrain")

import mmpretrain
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from small_classifier import on_meta

from ffc_dense.method.reductions import ffc_layers

CONFIGS = ROOT / "configs" / "imagenet"
EVERY = sorted(path.stem for path in CONFIGS.glob("*.py"))
TABLE_2 = {  # million parameters in the paper's Table 2, of stock and FFC; the width of the feature
    "resnet18": ("11.69", 512),
    "resnet34": ("21.80", 512),
    "resnet50": ("25.56", 2048),
    "resnet101": ("44.55", 2048),
    "resnext50-32x4d": ("25.03", 2048),
    "resnext101-32x4d": ("44.18", 2048),
}
TABLE_3 = {"seresnet50": ("28.09", 2048), "srmresnet50": ("25.62", 2048)}
SCHEDULE = "8xb32-90e_in1k"
TRICKS = ["120e", "120e-cosine", "120e-cosine-smooth", "200e-cosine-smooth-mixup"]
INSTANT = "1xb4-2_mini-imagenet-32x32_instant_test"


def config(name):
    return Config.fromfile(CONFIGS / f"{name}.py")


def model_of(name):
    init_default_scope("mmpretrain")
    return on_meta(config(name).model)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def flat(node, prefix=""):
    if isinstance(node, dict):
        return {key: value for name, each in node.items() for key, value in flat(each, f"{prefix}.{name}").items()}
    return {prefix: node}


@pytest.mark.parametrize("name", EVERY)
def test_a_config_builds_with_one_ffc_layer_or_none(name):
    assert len(ffc_layers(model_of(name))) == ("-ffc" in name)


@pytest.mark.parametrize(("name", "published", "width"), [(k, *v) for k, v in (TABLE_2 | TABLE_3).items()])
def test_the_parameters_are_the_paper_s_and_ffc_adds_six_for_each_channel(name, published, width):
    stock, ffc = parameters(model_of(f"{name}_{SCHEDULE}")), parameters(model_of(f"{name}-ffc_{SCHEDULE}"))
    assert f"{stock / 1e6:.2f}" == published
    assert ffc - stock == 6 * width in (3_072, 12_288)


def test_resnet_50_d_has_the_parameters_of_the_notes():
    names = ["resnetv1d50_8xb128-120e_in1k", "resnetv1d50-ffc_8xb128-200e-cosine-smooth-mixup_in1k"]
    assert [parameters(model_of(name)) for name in names] == [25_576_264, 25_588_552]


@pytest.mark.parametrize("name", [name for name in EVERY if "-ffc_" in name])
def test_an_ffc_config_differs_from_its_stock_twin_in_the_head_s_type_alone(name):
    stock, ffc = (flat(config(each).to_dict()) for each in (name.replace("-ffc_", "_"), name))
    assert {key for key in stock.keys() | ffc.keys() if stock.get(key) != ffc.get(key)} == {".model.head.type"}
    assert ffc[".model.head.type"] == "FFCLinearClsHead"
    assert ffc[".custom_imports.imports"] == ["ffc_dense.classification"]


def test_the_authors_variant_averages_four_outputs():
    (layer,) = ffc_layers(model_of(f"resnet50-ffc-authors_{SCHEDULE}"))
    assert (layer.num_outputs, layer.test_reduce) == (4, "mean")


@pytest.mark.parametrize("name", [*TABLE_2, *TABLE_3])
def test_table_2_is_trained_as_in_the_authors_code(name):
    cfg = config(f"{name}_{SCHEDULE}")
    assert cfg.optim_wrapper.optimizer == dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4)
    assert [each.to_dict() for each in cfg.param_scheduler] == [
        dict(type="MultiStepLR", by_epoch=True, milestones=[30, 60], gamma=0.1)
    ]
    assert cfg.train_cfg.max_epochs == 90 and 8 * cfg.train_dataloader.batch_size == 256
    assert cfg.model.backbone.zero_init_residual is False and cfg.model.backbone.style == "pytorch"
    assert [step.type for step in cfg.train_pipeline] == [
        "LoadImageFromFile", "RandomResizedCrop", "RandomFlip", "PackInputs",
    ]  # fmt: skip


def test_table_2_starts_as_in_the_authors_code():
    cfg = config(f"resnet18-ffc_{SCHEDULE}")
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    weight = model.head.fc.weight.clone()
    model.init_weights()
    assert torch.equal(model.head.fc.weight, weight) and weight.abs().max() <= 1.0001 / math.sqrt(
        512
    )  # nn.Linear's own
    block = model.backbone.layer4[1]
    assert (block.norm2.weight == 1).all()  # no zero gamma
    assert block.conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)


def decays(name):
    """{parameter: weight decay} of a config's optimizer."""
    cfg, model = config(name), model_of(name)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


def test_weight_decay_is_on_everything_but_the_recalibration():
    assert set(decays(f"resnet50-ffc_{SCHEDULE}").values()) == {1e-4}
    for name, decay in decays(f"srmresnet50-ffc_{SCHEDULE}").items():
        assert decay == (0 if ".se_layer." in name else 1e-4), name


def test_the_tricks_decay_weights_of_convolutions_and_the_classifier_alone():
    model = model_of(ffc := f"resnetv1d50-ffc_8xb128-{TRICKS[-1]}_in1k")
    layers = dict(model.named_modules())
    for name, decay in decays(ffc).items():
        layer, _, kind = name.rpartition(".")
        wanted = kind == "weight" and isinstance(layers[layer], torch.nn.Conv2d | torch.nn.Linear)
        assert decay == (1e-4 if wanted else 0), name


def rates(name, epochs=2):
    """The learning rate after each iteration, of epochs of ten iterations."""
    from mmengine.registry import PARAM_SCHEDULERS

    cfg = config(name)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = []
    for each in cfg.param_scheduler:
        kind = PARAM_SCHEDULERS.get(each.type)
        if each.pop("convert_to_iter_based", False):
            each.pop("type")
            schedulers.append((False, kind.build_iter_from_epoch(optimizer=optimizer, epoch_length=10, **each)))
        else:
            each.pop("type")
            schedulers.append((True, kind(optimizer=optimizer, **each)))
    found = []
    for _ in range(cfg.train_cfg.max_epochs):
        for _ in range(10):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            for by_epoch, scheduler in schedulers:
                if not by_epoch:
                    scheduler.step()
        for by_epoch, scheduler in schedulers:
            if by_epoch:
                scheduler.step()
    return found


def test_the_schedules_step_and_fall_as_the_papers_say():
    ninety = rates(f"resnet50_{SCHEDULE}")
    assert [round(ninety[10 * epoch], 6) for epoch in (0, 29, 30, 59, 60, 89)] == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    efficient = rates("resnetv1d50_8xb128-120e_in1k")
    assert efficient[0] < 1e-5 and efficient[25] == pytest.approx(0.2, abs=0.01)
    steps = [efficient[10 * epoch] for epoch in (6, 29, 30, 60, 90)]
    assert steps == pytest.approx([0.4, 0.4, 0.04, 0.004, 0.0004])
    for name, epochs in ((TRICKS[1], 120), (TRICKS[3], 200)):
        cosine = rates(f"resnetv1d50_8xb128-{name}_in1k")
        assert len(cosine) == 10 * epochs
        half = 50 + (10 * epochs - 50) // 2
        assert cosine[50] == pytest.approx(0.4, rel=0.01) and cosine[half] == pytest.approx(0.2, rel=0.02)
        assert cosine[-1] < 1e-4


def test_the_tricks_are_added_one_by_one():
    cfgs = [config(f"resnetv1d50_8xb128-{name}_in1k") for name in TRICKS]
    assert [cfg.param_scheduler[1].type for cfg in cfgs] == ["MultiStepLR", *["CosineAnnealingLR"] * 3]
    losses = [cfg.model.head.loss for cfg in cfgs]
    assert [loss.get("label_smooth_val", 0) for loss in losses] == [0, 0, 0.1, 0.1]
    assert [cfg.model.get("train_cfg") for cfg in cfgs] == [
        None,
        None,
        None,
        dict(augments=dict(type="Mixup", alpha=0.2)),
    ]
    assert all(cfg.model.backbone.zero_init_residual and 8 * cfg.train_dataloader.batch_size == 1024 for cfg in cfgs)


def test_the_smoothed_loss_of_mixed_labels_is_the_literal_one():
    init_default_scope("mmpretrain")
    loss = MODELS.build(config(f"resnetv1d50_8xb128-{TRICKS[3]}_in1k").model.head.loss)
    logits, share = torch.randn(3, 5), 0.7
    target = share * torch.eye(5)[[0, 1, 4]] + (1 - share) * torch.eye(5)[[2, 1, 3]]
    expected = -((0.9 * target + 0.1 / 5) * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss(logits, target, avg_factor=3), expected)


def test_the_test_crop_is_the_centre_of_the_image_that_pil_resized():
    init_default_scope("mmpretrain")
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    results = dict(img=image, img_shape=image.shape[:2])
    for step in config(f"resnet50_{SCHEDULE}").test_pipeline[1:-1]:
        results = TRANSFORMS.build(step)(results)
    resized = np.asarray(Image.fromarray(image).resize((341, 256), Image.BILINEAR))
    top, left = 16, 58  # as torchvision rounds (341 - 224) / 2
    assert np.array_equal(results["img"], resized[top : top + 224, left : left + 224])


@pytest.mark.parametrize(
    "name",
    [
        f"resnet18-ffc_{SCHEDULE}",
        f"resnext50-32x4d-ffc_{SCHEDULE}",
        f"srmresnet50-ffc_{SCHEDULE}",
        f"resnetv1d50-ffc_8xb128-{TRICKS[-1]}_in1k",
    ],
)
def test_a_training_step_gives_every_parameter_a_gradient(name):
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    model = MODELS.build(config(name).model).train()
    model.init_weights()
    if model.backbone.zero_init_residual:  # behind a zero gamma nothing has a gradient
        for block in model.backbone.modules():
            if hasattr(block, "conv3"):
                torch.nn.init.ones_(block.norm3.weight)
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(label) for label in (1, 5, 999, 0)]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)
    assert ("gt_score" in data["data_samples"][0]) == ("mixup" in name)
    model(**data, mode="loss")["loss"].backward()
    without = [each for each, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # The style weights start at 0, so that this BatchNorm has nothing to scale in the first step.
    assert all(each.endswith("se_layer.bn.weight") for each in without) and bool(without) == ("srm" in name)


def test_the_instant_test_trains_and_validates_through_mmpretrain_s_train_script(tmp_path):
    write_images(tmp_path / "data" / "mini_imagenet")
    script = Path(mmpretrain.__file__).parent / ".mim" / "tools" / "train.py"
    command = [sys.executable, script, CONFIGS / f"resnet18-ffc_{INSTANT}.py", "--work-dir", "out"]
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (next((tmp_path / "out").glob("*/vis_data/scalars.json"))).read_text()
    assert lines.count('"loss"') == 2 and '"accuracy/top1"' in lines and '"ffc/vote/accuracy"' in lines
    assert (tmp_path / "out" / "iter_2.pth").is_file() and list((tmp_path / "out").glob("best_accuracy*"))
