"""The configs of the paper's Table 6: models, streams and settings."""

import pytest
from repository import ROOT

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS

import ffc_dense.classification
import ffc_dense.video  # noqa: F401

HMDB51 = sorted((ROOT / "configs/hmdb51").glob("*.py"))
MINI = sorted((ROOT / "configs/mini_hmdb51").glob("*.py"))
STREAMS = {  # channels, modality of training and test, parameters at 51 classes
    "rgb": (3, "RGB", "RGB", 47_625_715),
    "flow": (2, "flow", "flow", 47_603_763),
    "mars": (3, "RGB+flow", "RGB", 47_625_715),
}


def stream_of(path):
    return path.stem.split("-")[-2]


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def test_every_stream_is_there_stock_and_ffc_with_64_and_16_frames():
    found = {(stream_of(path), path.stem.split("-")[-1], "ffc" in path.stem) for path in HMDB51}
    assert found == {(stream, frames, ffc) for stream in STREAMS for frames in ("64f", "16f") for ffc in (True, False)}
    assert {(stream_of(path), "ffc" in path.stem) for path in MINI} == {(s, f) for s in STREAMS for f in (True, False)}


@pytest.mark.parametrize("path", HMDB51, ids=lambda path: path.stem)
def test_a_config_builds_the_network_of_its_stream_and_trains_stage_4_and_the_classifier(path):
    cfg = Config.fromfile(path)
    channels, training, test, parameters = STREAMS[stream_of(path)]
    ffc, frames = "-ffc" in path.stem, int(path.stem[-3:-1])
    model = MODELS.build(cfg.model)
    assert sum(each.numel() for each in model.parameters()) == parameters + (12_288 if ffc else 0)
    assert model.backbone.conv1.in_channels == channels
    trained = {name.split(".")[1] for name, each in model.named_parameters() if each.requires_grad}
    assert trained == {"layer4", "fc"}
    for loader, modality in ((cfg.train_dataloader, training), (cfg.test_dataloader, test)):
        assert (loader.dataset.modality, loader.dataset.clip_length) == (modality, frames)
    means = {"rgb": 3, "flow": 2, "mars": 5}
    assert len(cfg.model.data_preprocessor.mean) == means[stream_of(path)]


@pytest.mark.parametrize("path", HMDB51, ids=lambda path: path.stem)
def test_a_config_starts_from_the_kinetics_weights_of_its_stream_and_clip_length(path):
    cfg, stream, frames = Config.fromfile(path), stream_of(path), path.stem[-3:]
    name = {"rgb": "RGB", "flow": "Flow", "mars": "MARS"}[stream]
    wanted = dict(type="Pretrained", checkpoint=f"weights/{name}_Kinetics_{frames}.pth", prefix="module")
    assert cfg.model.backbone.init_cfg == wanted
    if stream == "mars":
        assert cfg.model.teacher.init_cfg.checkpoint == f"weights/Flow_HMDB51_{frames}.pth"
        assert cfg.model.distill_weight == 50 and cfg.train_dataloader.batch_size == 16


def test_the_schedule_is_that_of_mars():
    cfg = Config.fromfile(HMDB51[0])
    wanted = dict(type="SGD", lr=1e-3, momentum=0.9, dampening=0.9, weight_decay=1e-5)
    assert cfg.optim_wrapper.optimizer == wanted
    (plateau,) = cfg.param_scheduler
    assert plateau.type == "ReduceOnPlateauLR" and plateau.patience == 10 and plateau.monitor == "cross_entropy"


@pytest.mark.parametrize("path", MINI, ids=lambda path: path.stem)
def test_a_mini_config_builds(path):
    cfg = Config.fromfile(path)
    assert MODELS.build(cfg.model).backbone.conv1.in_channels == STREAMS[stream_of(path)][0]
    dataset = dict(cfg.test_dataloader.dataset, lazy_init=True)
    with pytest.raises(ValueError, match="mini_hmdb51"):  # it is not there
        DATASETS.build(dict(dataset, data_root="no/mini_hmdb51"))
