"""A sample of mmseg's shipped configs, other datasets' among them, checks and builds as FFC twins."""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from repository import ROOT

pytest.importorskip("mmseg")

import mmseg
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense import FFCConv2d
from ffc_dense.openmmlab.inputs.config_checks import check_config
from ffc_dense.openmmlab.inputs.config_errors import type_name

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners
CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs"
SAMPLE = (
    "ann/*ade20k*", "apcnet/*cityscapes*", "bisenetv1/*coco-stuff*", "danet/*voc12aug*", "deeplabv3plus/*loveda*",
    "dmnet/*ade20k*", "encnet/*cityscapes*", "fastscnn/*", "fcn/*pascal-context*", "hrnet/*potsdam*",
    "isanet/*voc12aug*",
    "ocrnet/*cityscapes*", "pidnet/*", "pspnet/*vaihingen*", "segformer/*ade20k*", "sem_fpn/*ade20k*", "setr/*pup*",
    "stdc/*cityscapes*", "unet/*drive*", "unet/*stare*", "hrnet/*isaid*", "swin/*ade20k*",
)  # fmt: skip
REFUSED = {"maskformer/*ade20k*": "MaskFormerHead", "segmenter/*mask*": "SegmenterMaskTransformerHead"}


def twin(pattern: str) -> tuple[Config, dict]:
    """The first config of a family, its last decode head being FFC's, and that head."""
    if not CONFIGS.is_dir():
        pytest.skip("mmseg came without its configs")
    found = sorted(CONFIGS.glob(f"{pattern}.py"))
    if not found:
        pytest.skip(f"mmseg ships no {pattern}")
    cfg = Config.fromfile(found[0])
    heads = cfg.model.decode_head
    head = heads[-1] if isinstance(heads, list) else heads
    head.type = f"FFC{type_name(head)}"
    return cfg, head


@pytest.mark.parametrize("pattern", SAMPLE)
def test_a_shipped_config_passes_the_checks_and_builds_as_an_ffc_twin(pattern):
    init_default_scope("mmseg")
    cfg, head = twin(pattern)
    check_config(cfg, trains=True)
    check_config(cfg, trains=False)
    with torch.device("meta"):
        built = MODELS.build(head)
    assert isinstance(built.conv_seg, FFCConv2d) and built.conv_seg.num_filters == 3
    assert built.conv_seg.weight.shape[0] == built.out_channels


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_family_without_a_pixel_classifier_says_why(pattern):
    init_default_scope("mmseg")
    _, head = twin(pattern)
    with pytest.raises(TypeError, match=f"there is no FFC{REFUSED[pattern]}"):
        MODELS.build(head)


@pytest.mark.slow
def test_the_shipped_configs_that_do_not_build_are_those_that_the_docs_name():
    if not CONFIGS.is_dir():
        pytest.skip("mmseg came without its configs")
    init_default_scope("mmseg")
    page = (ROOT / "docs/background/segmentation.md").read_text()
    rows = re.findall(r"^\| (`.*) \| (\d+) \|", page, re.MULTILINE)
    named = {folder: int(number) for folders, number in rows for folder in re.findall(r"`(\w+)`", folders)}
    paths = [path for path in CONFIGS.rglob("*.py") if "_base_" not in path.parts]
    failed = Counter()
    for path in paths:
        try:
            cfg = Config.fromfile(path)
            heads = cfg.model.decode_head
            head = heads[-1] if isinstance(heads, list) else heads
            head.type = f"FFC{type_name(head)}"
            check_config(cfg, trains=True)
            check_config(cfg, trains=False)
            with torch.device("meta"):
                MODELS.build(head)
        except Exception:
            failed[path.parent.name] += 1
    assert failed.keys() == named.keys()
    shared = {"ccnet": "psanet", "mask2former": "maskformer"}  # two folders of one row
    for folder, number in named.items():
        assert failed[folder] + failed[shared.get(folder, "")] == number or folder in shared.values()
    assert f"{len(paths)} configs" in page and f"ships, {len(paths) - failed.total()} pass" in page
