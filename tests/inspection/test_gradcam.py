"""Grad-CAM of single outputs against the formula written out, and the figure."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ffc_dense import FFCConv2d, FFCLinear
from ffc_dense.inspection.gradcam.figure import Picture, arranged, draw, scaled
from ffc_dense.inspection.gradcam.maps import Explained, Head, OutputTarget, choose_outputs, explain

A, C, K = 6, 8, 4
BOX = torch.ones(1, 1)


def pooled(mix: nn.Conv2d):
    """As a box head: a layer on the map, then the mean over places."""
    return lambda feature: mix(feature).relu().mean(dim=(2, 3))


def literal_map(feature: Tensor, logit_of) -> np.ndarray:
    """Selvaraju et al., eq. 1 and 2: ReLU of the sum over k of (mean over i, j of dy/dA_k,ij) A_k."""
    feature = feature.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logit_of(feature), feature)
    total = torch.zeros(feature.shape[2:])
    for k in range(feature.shape[1]):
        total += gradient[0, k].mean() * feature[0, k].detach()
    return total.clamp(min=0).numpy()


@pytest.fixture
def box(scramble):
    mix, feature = nn.Conv2d(A, C, 1), torch.randn(1, A, 5, 7)
    layer = scramble(FFCLinear(C, K))
    head = Head(layer)
    head.rest = pooled(mix)
    return head, layer, mix, feature


def test_the_map_of_out1_and_of_the_stock_layer_is_plain_gradcam(box):
    head, layer, mix, feature = box
    stock = nn.Linear(C, K)
    stock.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    stock_head = Head(stock)
    stock_head.rest = pooled(mix)
    for label in range(K):
        expected = literal_map(feature, lambda x, label=label: stock(pooled(mix)(x))[0, label])
        for each in (head, stock_head):
            (found,) = explain(each, feature, BOX, [1], label)
            np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-7)


def test_every_output_has_its_own_plain_gradcam_prediction_and_units(box, literal):
    head, layer, mix, feature = box
    x = pooled(mix)(feature)
    logits = torch.stack(list(literal.outputs(layer, x)))[:, 0].detach()
    stages = literal.stages(x, list(layer.filters), -1)
    classified = [stages[0]]
    for i in (1, 2, 3):
        classified += [(stages[i - 1] + stages[i]) / 2, stages[i]]
    maps = []
    for found in explain(head, feature, BOX, list(range(1, 8))):
        output = found.output - 1
        probabilities = logits[output].softmax(0)
        assert found.label == found.target == probabilities.argmax()
        assert found.confidence == pytest.approx(float(probabilities.max()), rel=1e-4)
        assert (found.units, found.of_units) == (int((classified[output] > 0).sum()), C)
        expected = literal_map(
            feature, lambda v, f=found: literal.outputs(layer, pooled(mix)(v))[f.output - 1][0, f.label]
        )
        np.testing.assert_allclose(found.map, expected, rtol=1e-3, atol=1e-6)
        maps.append(scaled(found.map))
    assert any(not np.allclose(maps[0], each, atol=0.01) for each in maps[1:])


def test_a_region_counts_by_its_weights(scramble):
    layer = scramble(FFCConv2d(A, K))
    head, feature = Head(layer), torch.randn(1, A, 5, 7)
    weights = torch.zeros(5, 7)
    weights[1:3, 2:6] = 3.0
    logits = layer.outputs(feature)[:, 0].detach()
    for found in explain(head, feature, weights, [1, 4, 7]):
        region = logits[found.output - 1][:, 1:3, 2:6].flatten(1)
        votes = region.argmax(0).bincount(minlength=K)
        assert found.label == votes.argmax()
        assert found.confidence == pytest.approx(float(region.softmax(0)[found.label].mean()), rel=1e-4)
        expected = literal_map(feature, lambda x, f=found: layer.outputs(x)[f.output - 1, 0, f.label, 1:3, 2:6].mean())
        np.testing.assert_allclose(found.map, expected, rtol=1e-3, atol=1e-6)


def test_without_a_gradient_the_map_is_zero(box):
    head, _, _, feature = box
    head.rest = lambda x: (x.mean(dim=(2, 3)).new_zeros(1, C)) + 0 * x.sum()
    for found in explain(head, feature, BOX, [1, 3, 5, 7]):
        assert not found.map.any() and not scaled(found.map).any()


@pytest.mark.parametrize("value", [0.0, 2.0, 1e15])
def test_a_constant_feature_gives_finite_uniform_maps(value):
    layer = FFCLinear(A, K)
    head, feature = Head(layer), torch.full((1, A, 5, 7), value)
    head.rest = lambda x: x.mean(dim=(2, 3))
    best = int(layer.weight.sum(1).argmax())
    assert layer.weight[best].sum() > 0
    found = explain(head, feature, BOX, [1, 3, 7], best)
    for each in found:
        assert np.isfinite(each.map).all() and np.ptp(each.map) <= 1e-5 * each.map.max()
    if value:  # the library's own stretching would empty it
        assert (scaled(found[0].map) == 1).all()


def test_a_binary_classifier_is_explained_for_either_side():
    logits = torch.tensor([2.0, -3.0]).reshape(2, 1, 1, 1)
    assert float(OutputTarget(0, 1, BOX)(logits)) == 2.0 and float(OutputTarget(1, 0, BOX)(logits)) == 3.0
    layer = FFCConv2d(A, 1)
    feature = torch.randn(1, A, 3, 3)
    for found in explain(Head(layer), feature, torch.ones(3, 3), [1, 7]):
        positive = layer.outputs(feature)[found.output - 1].flatten() > 0
        assert found.label == int(positive.float().mean() > 0.5) and 0 <= found.confidence <= 1


def test_by_default_the_outputs_that_classify_a_stage_are_chosen():
    assert choose_outputs(Head(FFCLinear(C, K)), None) == [1, 3, 5, 7]
    assert choose_outputs(Head(FFCLinear(C, K, interpolate=False)), None) == [1, 2, 3, 4]
    for layer in (nn.Linear(C, K), FFCLinear(C, K, num_filters=0)):
        assert choose_outputs(Head(layer), None) == [1]
    assert choose_outputs(Head(FFCLinear(C, K)), [7, 2, 7]) == [7, 2]
    with pytest.raises(ValueError, match="--outputs 0, 8: the model has the outputs 1 to 7"):
        choose_outputs(Head(FFCLinear(C, K)), [0, 2, 8])


def test_the_figure_has_a_panel_for_the_image_and_each_output(box):
    head, _, _, feature = box
    found = explain(head, feature, BOX, [1, 3])
    region = np.zeros((5, 7), bool)
    sizes = []
    for outputs in (found[:1], found):
        picture = Picture(np.zeros((5, 7, 3), np.uint8), region, (0, 0, 7, 5), "t", outputs, list("abcd"), "n")
        sizes.append(Image.open(io.BytesIO(draw(picture))).size)
    assert sizes[1][0] > sizes[0][0] and abs(sizes[1][1] - sizes[0][1]) < 20


@pytest.mark.parametrize("panels", range(2, 17))
@pytest.mark.parametrize("fit_a_row", [True, False])
def test_the_grid_of_panels_has_no_empty_cell(panels, fit_a_row):
    rows = arranged(panels, fit_a_row)
    cells = [cell for row in rows for cell in row]
    assert len({len(row) for row in rows}) == 1 and set(cells) == set(range(panels))
    assert all(cells.count(panel) == 1 for panel in range(1, panels))
    assert [row[0] for row in rows] == [0] * len(rows) if cells.count(0) > 1 else cells == list(range(panels))
    assert len(rows) == 1 if fit_a_row else len(rows[0]) <= 6


def test_five_panoramas_are_drawn_around_the_image():
    outputs = [Explained(m, 0, 0.5, 0, 3.0, 8, np.ones((20, 60), np.float32)) for m in (1, 3, 5, 7)]
    picture = Picture(
        np.zeros((20, 60, 3), np.uint8), np.zeros((20, 60), bool), (0, 0, 60, 20), "t", outputs, ["a"], "n"
    )
    width, height = Image.open(io.BytesIO(draw(picture))).size
    assert 2.5 < width / height < 4  # three columns of two rows, without wide gaps between the rows
