"""The blocked, recomputing form of the FFC layers: the literal result, kept memory, every way to use it in a graph."""

import copy

import pytest
import torch
from gradients import gradients
from torch import nn

from ffc_dense import FFCConv2d, FFCLinear, get_backend, set_backend
from ffc_dense.method.fast import blocks, dispatch

C, K = 24, 5
KINDS = ["linear", "conv"]
SHAPES = {"linear": (23, C), "conv": (3, C, 5, 7)}  # several uneven blocks of 4 positions each
DEFAULT_BLOCK_BYTES = blocks.CPU_BLOCK_BYTES
ROUNDING = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 0.04, torch.float16: 0.005}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 4 positions of C fp32 features, and the blocked form whatever the size."""
    monkeypatch.setattr(blocks, "CPU_BLOCK_BYTES", 4 * C * 4 // torch.get_num_threads())
    before = get_backend()
    set_backend("blocked")
    yield
    set_backend(before)


def ffc(kind, bias=True, num_classes=K, **options):
    return (FFCLinear if kind == "linear" else FFCConv2d)(C, num_classes, bias=bias, **options)


def is_recomputed(y):
    """Whether the graph behind ``y`` holds the recomputing function."""
    waiting, names = [y.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.add(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return "_RecomputedMeanBackward" in names


def assert_literal(literal, layer, x, dtype=torch.float32):
    """Compare with the literal algorithm in float64."""
    assert is_recomputed(layer(x))
    exact = copy.deepcopy(layer).double()
    expected = gradients(exact, x.double(), lambda x: literal.mean(exact, x))
    found = gradients(layer, x)
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(found, dtype)
    for name, value in expected.items():
        error = (found[name].double() - value).abs().max() / value.abs().max().clamp(min=1e-3)
        assert error < ROUNDING[dtype], name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("num_filters", [1, 3])
@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_blocks_give_the_literal_result_and_gradients(literal, scramble, kind, dtype, num_filters, interpolate, bias):
    layer = scramble(ffc(kind, bias, num_filters=num_filters, interpolate=interpolate)).to(dtype)
    assert_literal(literal, layer, torch.randn(SHAPES[kind]).to(dtype), dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_classes", [1, 40])
def test_narrow_and_wide_classifiers_are_literal(literal, scramble, kind, num_classes):
    assert_literal(literal, scramble(ffc(kind, num_classes=num_classes)), torch.randn(SHAPES[kind]))


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("linear", (C,)), ("linear", (1, C)), ("linear", (4, C)), ("linear", (2, 3, 2, C)),
        ("conv", (C, 5, 7)), ("conv", (9, C, 1, 1)), ("conv", (1, C, 1, 9)), ("conv", (5, C, 2, 1)),
        ("conv", (2, C, 16, 16)),
    ],
)  # fmt: skip
def test_every_shape_is_cut_and_put_together_again(literal, scramble, kind, shape):
    assert_literal(literal, scramble(ffc(kind)), torch.randn(shape))


@pytest.mark.parametrize("block", [1, 3, 4, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_block_size_does_not_matter(monkeypatch, scramble, kind, block):
    layer, x = scramble(ffc(kind, num_classes=1)), torch.randn(SHAPES[kind])
    expected = gradients(layer, x)
    monkeypatch.setattr(blocks, "CPU_BLOCK_BYTES", block * C * 4 // torch.get_num_threads())
    torch.testing.assert_close(gradients(layer, x), expected, rtol=1e-5, atol=1e-5)


def layouts(x):
    """``x`` with other strides."""
    yield torch.stack([x, torch.zeros_like(x)], -1)[..., 0]
    yield x.transpose(0, 1).contiguous().transpose(0, 1)
    yield x.transpose(-1, -2).contiguous().transpose(-1, -2)
    if x.dim() == 4:
        yield x.to(memory_format=torch.channels_last)
        yield torch.cat([x, x], 1)[:, :C]


@pytest.mark.parametrize("kind", KINDS)
def test_strides_of_input_and_gradient_do_not_matter(scramble, kind):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind])
    direction = torch.randn(layer(x).shape)

    def grad_of(x, direction):
        layer.zero_grad(set_to_none=True)
        x = x.detach().requires_grad_()
        layer(x).backward(direction)
        return [x.grad, *(p.grad for p in layer.parameters())]

    expected = grad_of(x, direction)
    for other in layouts(x):
        assert not other.is_contiguous() and is_recomputed(layer(other))
        torch.testing.assert_close(grad_of(other, direction), expected, rtol=1e-5, atol=1e-5)
    for expanded in (direction[:1].expand_as(direction), torch.ones(()).expand_as(direction)):
        torch.testing.assert_close(grad_of(x, expanded), grad_of(x, expanded.contiguous()), rtol=1e-5, atol=1e-5)
    if kind == "conv":
        swapped = direction.to(memory_format=torch.channels_last)
        torch.testing.assert_close(grad_of(x, swapped), expected, rtol=1e-5, atol=1e-5)


def test_channels_last_comes_out_as_channels_last():
    x = torch.randn(SHAPES["conv"]).to(memory_format=torch.channels_last).requires_grad_()
    y = ffc("conv")(x)
    y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_input_is_kept_for_backward(kind):
    layer, x = ffc(kind), torch.randn(SHAPES[kind], requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(x)
    storages = {tensor.untyped_storage().data_ptr() for tensor in kept}
    own = {tensor.untyped_storage().data_ptr() for tensor in (x, *layer.parameters())}
    assert x.untyped_storage().data_ptr() in storages <= own


@pytest.mark.parametrize("kind", KINDS)
def test_no_grad_keeps_nothing_and_gives_the_same(kind):
    layer, x = ffc(kind), torch.randn(SHAPES[kind])
    with torch.no_grad():
        found = layer(x)
    assert not found.requires_grad and torch.equal(found, layer(x))
    with torch.inference_mode():
        assert torch.equal(layer(x), found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("huge", [False, True])
def test_outputs_without_gradient_are_literal(monkeypatch, literal, scramble, kind, dtype, interpolate, bias, huge):
    layer, x = scramble(ffc(kind, bias, interpolate=interpolate)).to(dtype), torch.randn(SHAPES[kind]).to(dtype)
    if huge and dtype != torch.float16:
        x[1] *= 1e20
    used, blocked_form = [], dispatch.blocked.stage_logits
    monkeypatch.setattr(dispatch.blocked, "stage_logits", lambda **given: used.append(1) or blocked_form(**given))
    with torch.no_grad():
        found = layer.outputs(x)
        expected = torch.stack(literal.outputs(copy.deepcopy(layer).double(), x.double()))
        stock = nn.Linear.forward if kind == "linear" else nn.Conv2d.forward
        assert torch.equal(found[0], stock(layer, x))
    assert used and found.dtype == dtype
    for output, exact in zip(found, expected, strict=True):
        assert (output - exact).abs().max() < ROUNDING[dtype] * exact.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_without_filters_the_only_output_is_the_stock_one(kind):
    layer, x = ffc(kind, num_filters=0), torch.randn(SHAPES[kind])
    with torch.no_grad():
        assert torch.equal(layer.outputs(x), layer(x)[None])


@pytest.mark.parametrize("test_reduce", ["vote", "mean", "out4"])
@pytest.mark.parametrize("kind", KINDS)
def test_inference_gives_what_evaluation_with_gradients_gives(scramble, kind, test_reduce):
    layer, x = scramble(ffc(kind, test_reduce=test_reduce)).eval(), torch.randn(SHAPES[kind])
    expected = layer(x)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_are_equal_to_the_bit(scramble, kind):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind])
    first, second = gradients(layer, x), gradients(layer, x)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", ["x", "weight", "bias", "filters", "all but x", "all but weight", "all but filters"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_is_unchanged(scramble, kind, frozen):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind])
    expected = gradients(layer, x)
    names = ["x", *(name for name, _ in layer.named_parameters())]
    kept = {name for name in names if name.startswith(frozen.removeprefix("all but "))}
    trained = kept if frozen.startswith("all but") else set(names) - kept
    layer.zero_grad(set_to_none=True)
    x = x.requires_grad_("x" in trained)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name in trained)
    y = layer(x)
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    found = {"x": x.grad, **{name: p.grad for name, p in layer.named_parameters()}}
    for name in names:
        if name in trained:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
        else:
            assert found[name] is None


@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives_are_exact(scramble, kind):
    layer = scramble(ffc(kind, num_filters=2, num_classes=2)).double()
    x = torch.randn((6, C) if kind == "linear" else (2, C, 1, 5), dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    arguments = (x, *(p.detach().requires_grad_() for p in layer.parameters()))
    assert is_recomputed(run(*arguments))
    assert torch.autograd.gradcheck(run, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, arguments, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_layer_used_twice_in_a_graph_adds_its_gradients(scramble, kind):
    layer = scramble(ffc(kind))
    a, b = torch.randn(2, *SHAPES[kind])
    once = [gradients(layer, x) for x in (a, b)]
    layer.zero_grad(set_to_none=True)
    direction = torch.randn(once[0]["forward"].shape, generator=torch.Generator().manual_seed(1))
    ((layer(a) + layer(b)) * direction).sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, once[0][name] + once[1][name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_autocast_gives_what_the_composite_form_gives(scramble, kind, dtype):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind]).to(dtype)
    if dtype == torch.float64:
        layer.double()
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(layer, x)
        set_backend("composite")
        expected = gradients(layer, x)
    assert found["forward"].dtype == (dtype if dtype == torch.float64 else torch.bfloat16)
    assert {name: value.dtype for name, value in found.items()} == {n: value.dtype for n, value in expected.items()}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0.03, atol=0.03 * float(value.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e15, 1e18, 1e30])
def test_huge_features_get_the_gradients_of_small_ones(literal, scramble, kind, size):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind])
    x[1] *= size  # one image or row among ordinary ones
    exact = copy.deepcopy(layer).double()
    expected = gradients(exact, x.double(), lambda x: literal.mean(exact, x))
    found = gradients(layer, x)
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))


def test_features_are_scaled_exactly_when_they_may_leave_the_range():
    layer = ffc("linear")
    for value, scaled in ((1e14, False), (1e16, True), (float("inf"), True), (float("nan"), True)):
        x = torch.randn(SHAPES["linear"])
        x[7] = torch.linspace(-value, value, C) if value < 1e30 else torch.full((C,), value)
        assert layer(x).grad_fn.scaled == scaled


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("feature", ["zero", "constant", "one-hot"])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_degenerate_features_stay_finite(kind, feature, dtype):
    layer = ffc(kind).to(dtype)
    rows = {"zero": torch.zeros(23, C), "constant": torch.full((23, C), 3.7), "one-hot": torch.eye(C)[:23]}[feature]
    found = gradients(layer, (rows if kind == "linear" else rows[:, :, None, None]).to(dtype))
    assert all(value.isfinite().all() for value in found.values())


@pytest.mark.parametrize(
    ("kind", "shape"), [("linear", (0, C)), ("linear", (2, 0, C)), ("conv", (0, C, 4, 4)), ("conv", (0, C, 1, 1))]
)
def test_empty_input_gives_every_parameter_a_zero_gradient(kind, shape):
    found = gradients(ffc(kind), torch.randn(shape))
    assert found.pop("forward").numel() == found.pop("x").numel() == 0
    assert len(found) == 8 and all(torch.equal(grad, torch.zeros_like(grad)) for grad in found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_function_transforms_give_the_composite_result(scramble, kind):
    layer, x = scramble(ffc(kind)), torch.randn(4, *SHAPES[kind])
    torch.testing.assert_close(torch.func.vmap(layer)(x), torch.stack([layer(each) for each in x]))

    def loss(x):
        return layer(x).square().sum()

    grads = torch.func.vmap(torch.func.grad(loss))(x)
    torch.testing.assert_close(grads[2], torch.autograd.grad(loss(a := x[2].requires_grad_()), a)[0])
    tangent = torch.randn_like(x[0])
    _, along = torch.func.jvp(layer, (x[0],), (tangent,))
    step = (layer.double()(x[0].double() + 1e-6 * tangent) - layer(x[0].double() - 1e-6 * tangent)) / 2e-6
    torch.testing.assert_close(along.double(), step, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode_differentiation_works(scramble, kind):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind])
    tangent = torch.randn_like(x)
    with torch.autograd.forward_ad.dual_level():
        dual = layer(torch.autograd.forward_ad.make_dual(x, tangent))
        along = torch.autograd.forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(along, torch.func.jvp(layer, (x,), (tangent,))[1])


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_layer_gives_the_same(scramble, kind):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind])
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(gradients(layer, x, lambda x: compiled(x)), gradients(layer, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_layer_gives_the_same(scramble, kind):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind])
    found = gradients(layer, x, lambda x: torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False))
    torch.testing.assert_close(found, gradients(layer, x), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_meta_tensors_and_fake_tensors_have_the_shape(kind):
    layer, x = ffc(kind), torch.randn(SHAPES[kind])
    expected = layer(x)
    assert layer.to("meta")(x.to("meta")).shape == expected.shape
    with torch._subclasses.FakeTensorMode() as mode:
        assert ffc(kind)(mode.from_tensor(x)).shape == expected.shape


def test_hooks_on_the_filters_see_the_stages():
    layer, seen = ffc("linear"), []
    layer.filters.register_forward_hook(lambda module, arguments, stages: seen.append(len(stages)))
    layer(torch.randn(SHAPES["linear"]))
    assert seen == [4]


def test_default_uses_blocks_for_large_cpu_inputs_alone():
    set_backend("auto")
    layer = nn.Sequential(FFCLinear(C, K))
    rows = dispatch.SMALL // C
    assert not is_recomputed(layer(torch.randn(rows, C)))
    assert is_recomputed(layer(torch.randn(rows + 1, C)))


def test_composite_backend_never_recomputes():
    set_backend("composite")
    assert not is_recomputed(FFCLinear(C, K)(torch.randn(dispatch.SMALL, C)))


@pytest.mark.parametrize("kind", KINDS)
def test_traced_graph_holds_operators_for_any_data(scramble, kind):
    layer, x = scramble(ffc(kind)), torch.randn(SHAPES[kind])
    traced = torch.fx.experimental.proxy_tensor.make_fx(layer)(x)
    other = torch.randn_like(x) * 1e20
    torch.testing.assert_close(traced(other), layer(other), rtol=1e-5, atol=1e-5 * 1e20)


@pytest.mark.parametrize(
    ("kind", "shape"), [("linear", (700, 1024)), ("conv", (3, 512, 28, 28)), ("conv", (1, 512, 33, 35))]
)
def test_default_block_sizes_give_the_composite_result(monkeypatch, scramble, kind, shape):
    monkeypatch.setattr(blocks, "CPU_BLOCK_BYTES", DEFAULT_BLOCK_BYTES)
    set_backend("auto")
    layer = scramble(FFCLinear(1024, 81) if kind == "linear" else FFCConv2d(512, 19))
    x = torch.randn(shape)
    assert is_recomputed(layer(x))
    found = gradients(layer, x)
    set_backend("composite")
    for name, expected in gradients(layer, x).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_no_positions_make_no_blocks():
    assert list(blocks.blocks(torch.zeros(2, 0, C), 4)) == []
