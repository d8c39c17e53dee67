"""The C4 heads whose res5 has stride 1: same parameters, the stock head's features on every second bin."""

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import Res5ROIHeads
from fvcore.nn import FlopCountAnalysis
from small_detector import small_cfg

from ffc_dense.detection import FFCRes5Stride1ROIHeads, Res5Stride1ROIHeads

PAPER = ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7)


def seeded(heads, *opts):
    torch.manual_seed(0)
    return build_model(small_cfg(heads, *opts)).eval()


def test_stride_1_on_every_second_bin_equals_the_stock_stride_2():
    """detectron2 pools 14x14 bins, of which a stride-2 1x1 convolution reads 7x7."""
    stock, ours = seeded("Res5ROIHeads").roi_heads, seeded("Res5Stride1ROIHeads", *PAPER).roi_heads
    pooled = torch.randn(3, 64, 14, 14)
    with torch.no_grad():
        torch.testing.assert_close(ours.res5(pooled[:, :, ::2, ::2]), stock.res5(pooled))
        assert ours.res5(pooled[:, :, :7, :7]).shape == stock.res5(pooled).shape == (3, 128, 7, 7)


@torch.no_grad()
def test_both_geometries_cost_the_documented_operations():
    cfg = get_cfg()
    counts = []
    for heads, size in ((Res5ROIHeads, 14), (Res5Stride1ROIHeads, 7)):
        block, _ = heads._build_res5_block(cfg)
        counts.append(FlopCountAnalysis(block, torch.zeros(1, 1024, size, size)).total())
    assert counts[0] == counts[1] and round(counts[0] / 1e9, 3) == 0.733


def test_names_shapes_and_seeded_values_equal_the_stock_heads():
    stock, ours = seeded("Res5ROIHeads").state_dict(), seeded("Res5Stride1ROIHeads", *PAPER).state_dict()
    assert stock.keys() == ours.keys()
    assert all(torch.equal(stock[key], ours[key]) for key in stock)


def test_the_stock_head_keeps_its_stride():
    seeded("Res5Stride1ROIHeads", *PAPER)
    block, _ = Res5ROIHeads._build_res5_block(small_cfg("Res5ROIHeads"))
    assert block[0].conv1.stride == block[0].shortcut.stride == (2, 2)


@pytest.mark.parametrize("in_1x1", [True, False])
def test_no_convolution_of_res5_has_a_stride(in_1x1):
    for heads in (Res5Stride1ROIHeads, FFCRes5Stride1ROIHeads):
        block, _ = heads._build_res5_block(small_cfg(heads.__name__, "MODEL.RESNETS.STRIDE_IN_1X1", in_1x1))
        assert {m.stride for m in block.modules() if isinstance(m, torch.nn.Conv2d)} == {(1, 1)}


def test_ffc_adds_its_filters_and_nothing_else():
    stock, ffc = seeded("Res5Stride1ROIHeads", *PAPER), seeded("FFCRes5Stride1ROIHeads", *PAPER)
    added = set(ffc.state_dict()) - set(stock.state_dict())
    assert added == {f"roi_heads.box_predictor.cls_score.filters.{i}.{k}" for i in range(3) for k in ("weight", "bias")}
    stock_state, ffc_state = stock.state_dict(), ffc.state_dict()
    assert all(torch.equal(stock_state[key], ffc_state[key]) for key in stock_state)


def test_zero_filters_equals_the_stock_head():
    stock = seeded("Res5Stride1ROIHeads", *PAPER)
    ffc = seeded("FFCRes5Stride1ROIHeads", *PAPER, "MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS", 0)
    image = [{"image": torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8), "height": 64, "width": 96}]
    with torch.no_grad():
        first, second = stock(image)[0]["instances"], ffc(image)[0]["instances"]
    assert len(first) and torch.equal(first.scores, second.scores)
    assert torch.equal(first.pred_boxes.tensor, second.pred_boxes.tensor)
