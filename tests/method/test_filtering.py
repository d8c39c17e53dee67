"""The chain of LayerNorm + ReLU."""

import copy

import pytest
import torch
from torch import nn

from ffc_dense import FeatureFilter

C = 16


def feature_of(kind: str, dtype: torch.dtype, rows: int = 4) -> torch.Tensor:
    """(rows, C) of an awkward kind: zero, constant, one-hot, or random of the size that ``kind`` names."""
    if kind == "zero":
        return torch.zeros(rows, C, dtype=dtype)
    if kind == "constant":
        return torch.full((rows, C), 3.7, dtype=dtype)
    if kind == "one-hot":
        return torch.eye(C, dtype=dtype)[:rows]
    return torch.randn(rows, C, dtype=torch.float64).clamp(-3, 3).mul(float(kind)).to(dtype)


@pytest.mark.parametrize("eps", [0.0, 9e-6, float("inf"), float("nan"), True, "1e-5"])
def test_eps_must_be_a_number_of_at_least_1e_minus_5(eps):
    with pytest.raises(ValueError, match="eps"):
        FeatureFilter(8, 2, eps)


@pytest.mark.parametrize("num_filters", range(6))
@pytest.mark.parametrize(
    ("shape", "dim"), [((5, C), -1), ((C,), -1), ((2, 3, C), -1), ((2, C, 4, 3), -3), ((2, C, 4, 3), 1)]
)
def test_stages_equal_the_literal_chain(literal, scramble, num_filters, shape, dim):
    filters = scramble(FeatureFilter(C, num_filters))
    x = torch.randn(shape)
    expected = literal.stages(x, list(filters), dim if dim < 0 else dim - len(shape))
    stages = filters(x, dim)
    assert len(stages) == num_filters + 1
    torch.testing.assert_close(stages, expected, rtol=1e-5, atol=1e-5)


def test_first_stage_is_the_input_itself():
    x = torch.randn(2, C, dtype=torch.bfloat16)
    assert FeatureFilter(C)(x)[0] is x


def test_it_is_a_list_of_affine_layer_norms():
    filters = FeatureFilter(C, 2, eps=1e-3)
    assert isinstance(filters, nn.ModuleList) and len(filters) == 2
    assert all(type(norm) is nn.LayerNorm and norm.elementwise_affine and norm.eps == 1e-3 for norm in filters)
    assert list(filters.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_filters_start_as_plain_normalization_and_can_be_reset(scramble):
    filters = scramble(FeatureFilter(C))
    filters.reset_parameters()
    for norm in filters:
        assert torch.equal(norm.weight, torch.ones(C)) and torch.equal(norm.bias, torch.zeros(C))


def test_eps_reaches_the_statistics(literal):
    filters = FeatureFilter(C, 1, eps=0.5)
    x = torch.randn(3, C)
    torch.testing.assert_close(filters(x)[1], literal.stages(x, list(filters), -1)[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_filtered_in_fp32(dtype, autocast):
    filters = FeatureFilter(C).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        stages = filters(torch.randn(4, C, dtype=dtype))
    assert [stage.dtype for stage in stages] == [dtype] + [torch.float32] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_does_not_touch_the_chain(scramble, dtype):
    filters = scramble(FeatureFilter(C)).to(dtype)
    x = torch.randn(4, C, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        stages = filters(x)
    assert all(torch.equal(a, b) for a, b in zip(stages, filters(x), strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stages_are_as_exact_as_fp32(literal, scramble, dtype):
    filters = scramble(FeatureFilter(C)).to(dtype)
    x = torch.randn(50, C).mul(5).to(dtype)
    exact = literal.stages(x.double(), [copy.deepcopy(norm).double() for norm in filters], -1)
    for stage, expected in zip(filters(x), exact, strict=True):
        torch.testing.assert_close(stage.double(), expected, rtol=1e-5, atol=1e-5)


def test_double_stays_double(literal, scramble):
    filters = scramble(FeatureFilter(C)).double()
    x = torch.randn(4, C, dtype=torch.float64)
    torch.testing.assert_close(filters(x), literal.stages(x, list(filters), -1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *[(kind, dtype) for kind in ("zero", "constant", "one-hot") for dtype in (torch.float16, torch.float32)],
        ("1e4", torch.float16),
        *[(kind, dtype) for kind in ("1e18", "1e30", "1e38") for dtype in (torch.bfloat16, torch.float32)],
        ("1e200", torch.float64),
    ],
)
def test_awkward_features_give_finite_stages_and_gradients(kind, dtype):
    filters = FeatureFilter(C).to(dtype)
    x = feature_of(kind, dtype).requires_grad_()
    stages = filters(x)
    torch.stack([stage.float() if dtype != torch.float64 else stage for stage in stages[1:]]).sum().backward()
    assert all(stage.isfinite().all() for stage in stages)
    assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in filters.parameters())


@pytest.mark.parametrize("kind", ["zero", "constant"])
def test_constant_feature_leaves_the_bias(kind):
    filters = FeatureFilter(C, 1)
    nn.init.normal_(filters[0].bias)
    torch.testing.assert_close(filters(feature_of(kind, torch.float32))[1], filters[0].bias.relu().expand(4, C))


@pytest.mark.parametrize("size", [1e4, 1e18, 1e30])
def test_huge_features_are_filtered_like_small_ones(literal, scramble, size):
    # LayerNorm does not depend on the scale, so stages and gradients can be known where fp32 squares overflow.
    filters = scramble(FeatureFilter(C))
    pull = torch.randn(3, 4, C)
    x = (torch.randn(4, C) * size).requires_grad_()
    stages = filters(x)[1:]
    (torch.stack(stages) * pull).sum().backward()

    exact = x.detach().double().requires_grad_()
    expected = literal.stages(exact, [copy.deepcopy(norm).double() for norm in filters], -1)[1:]
    (torch.stack(expected) * pull).sum().backward()
    torch.testing.assert_close(torch.stack(stages).double(), torch.stack(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x.grad.double() * size, exact.grad * size, rtol=1e-4, atol=1e-4)


def test_one_huge_row_leaves_the_others_as_they_were():
    filters = FeatureFilter(C)
    x = torch.randn(4, C)
    with_huge = torch.cat([x, torch.full((1, C), 1e30)])
    assert all(torch.equal(a, b[:4]) for a, b in zip(filters(x), filters(with_huge), strict=True))


@pytest.mark.parametrize(("shape", "dim"), [((0, C), -1), ((2, 0, C), -1), ((0, C, 4, 4), -3), ((2, C, 0, 4), -3)])
def test_empty_input_passes_and_gives_zero_gradients(shape, dim):
    filters = FeatureFilter(C)
    stages = filters(torch.randn(shape, requires_grad=True), dim)
    assert [stage.shape for stage in stages] == [shape] * 4
    torch.stack(stages).sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in filters.parameters())


@pytest.mark.parametrize(("shape", "dim"), [((5, C + 1), -1), ((C, 5), -1), ((2, C, 4, 3), -1), ((4, C), -3), ((), -1)])
def test_wrong_feature_count_is_named_with_the_shape(shape, dim):
    with pytest.raises(ValueError) as error:
        FeatureFilter(C)(torch.zeros(shape), dim)
    assert f"{C} features" in str(error.value) and str(tuple(shape)) in str(error.value)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integer_features_are_refused(dtype):
    with pytest.raises(TypeError, match=str(dtype)):
        FeatureFilter(C)(torch.ones(2, C, dtype=dtype))


@pytest.mark.parametrize("num_filters", [-1, 2.0, True, None, "3"])
def test_num_filters_must_be_a_whole_number(num_filters):
    with pytest.raises(ValueError, match="num_filters"):
        FeatureFilter(C, num_filters)


@pytest.mark.parametrize("eps", [0, 9e-6, 1e-12, -1.0, float("nan")])
def test_eps_below_1e_5_is_refused(eps):
    with pytest.raises(ValueError, match="eps"):
        FeatureFilter(C, eps=eps)
