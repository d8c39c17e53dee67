"""A whole segmentor as ONNX, torch.export and TorchScript file, for any batch and image size."""

import pytest
import torch
from small_segmentor import SLIDE, build
from torch import nn

from ffc_dense.export.checking import compare_dense
from ffc_dense.export.pooling import ExportableAdaptiveAvgPool2d
from ffc_dense.export.recording import FORMATS, Exportable, load, write
from ffc_dense.segmentation.inspection.export import INPUTS, OUTPUTS, ExportableSegmentor, exporting

SHAPES = [(1, 32, 32), (3, 64, 40), (2, 33, 57)]


def exportable(model):
    dynamic = {name: {0: "batch", 2: "height", 3: "width"} for name in (*INPUTS, *OUTPUTS)}
    module, example = ExportableSegmentor(model), torch.randn(2, 3, 48, 64)
    return Exportable(module, module, example, [], INPUTS, OUTPUTS, dynamic, lambda form: exporting())


@torch.no_grad()
def stock(model, image):
    size = tuple(image.shape[2:])
    scores = model.encode_decode(image, [dict(ori_shape=size, img_shape=size, pad_shape=size)])
    return [scores, scores.argmax(1, keepdim=True)]


QUICK = [("vote", "torchscript"), ("mean", "torchscript")]  # the other exporters take up to half a minute
OTHERS = [(name, form) for name in ("vote", "mean") for form in FORMATS if (name, form) not in QUICK]


@pytest.mark.parametrize(
    ("reduction", "form"), [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in OTHERS)]
)
def test_a_written_pspnet_equals_the_segmentor_for_any_batch_and_size(reduction, form, tmp_path):
    model = build(pool_scales=(1, 2, 3, 6), test_reduce=reduction)
    path = tmp_path / "model.pt2"
    write(exportable(model), path, form)
    run = load(path, form)
    for n, *size in SHAPES:
        image = torch.randn(n, 3, *size)
        agreement = compare_dense(stock(model, image), run(image))
        assert agreement.unlike == 0 and agreement.same_label == n * size[0] * size[1]
        assert agreement.difference <= 1e-4


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (6, 6), (17, 32)])
@pytest.mark.parametrize("bins", [(1, 1), (2, 3), (6, 6)])
def test_pooling_equals_torchs(bins, size):
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(ExportableAdaptiveAvgPool2d(bins)(x), nn.AdaptiveAvgPool2d(bins)(x))


def test_a_segmentor_that_is_tested_in_windows_is_refused():
    with pytest.raises(ValueError, match=r"model\.test_cfg\.mode=whole"):
        ExportableSegmentor(build(mode=SLIDE))


def test_another_answer_does_not_pass():
    expected = stock(build(), torch.randn(1, 3, 32, 32))
    assert compare_dense(expected, expected).passes
    assert not compare_dense(expected, [expected[0] + 2e-4, expected[1]]).passes
    assert not compare_dense(expected, [expected[0], expected[1] + 1]).passes
    assert not compare_dense(expected, [expected[0] * torch.nan, expected[1]]).passes
