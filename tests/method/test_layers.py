"""FFCLinear and FFCConv2d: drop-in for the stock layers, equal to the literal algorithm."""

import copy
import inspect
import io
import pickle
import re

import pytest
import torch
from gradients import gradients
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ffc_dense import FeatureFilter, FFCConv2d, FFCLinear
from ffc_dense.method.options import OPTIONS

C, K = 24, 5
KINDS = ["linear", "conv"]
SHAPES = {"linear": (6, C), "conv": (2, C, 3, 4)}


def ffc(kind, bias=True, num_classes=K, **options):
    return (FFCLinear if kind == "linear" else FFCConv2d)(C, num_classes, bias=bias, **options)


def stock(kind, bias=True, **factory):
    return nn.Linear(C, K, bias, **factory) if kind == "linear" else nn.Conv2d(C, K, 1, bias=bias, **factory)


def stock_twin(layer):
    """The stock layer with a copy of the parameters of ``layer``."""
    twin = stock("conv" if isinstance(layer, nn.Conv2d) else "linear", layer.bias is not None)
    twin.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("filters.")})
    return twin


def class_dim(layer):
    return -3 if isinstance(layer, nn.Conv2d) else -1


# The algorithm


def test_averages_of_large_half_precision_logits_are_finite():
    layer = FFCLinear(2, 1, num_filters=1).half()
    with torch.no_grad():
        layer.weight.fill_(20000)
        layer.bias.zero_()
        layer.filters[0].bias.fill_(1)
        layer.filters[0].weight.zero_()
    outputs = layer.outputs(torch.ones(1, 2, dtype=torch.float16))
    assert outputs.flatten().tolist() == [40000, 40000, 40000]


def test_from_layer_knows_the_ffc_options_alone():
    with pytest.raises(TypeError, match="dtype"):
        FFCLinear.from_layer(nn.Linear(4, 3), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_filters", range(6))
@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_training_equals_literal_mean_of_all_outputs(literal, scramble, kind, num_filters, interpolate, bias):
    layer = scramble(ffc(kind, bias, num_filters=num_filters, interpolate=interpolate))
    x = torch.randn(SHAPES[kind])
    expected = gradients(layer, x, lambda x: literal.mean(layer, x))
    torch.testing.assert_close(gradients(layer, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_filters", range(6))
@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_equal_literal_outputs_in_order(literal, scramble, kind, num_filters, interpolate, bias):
    layer = scramble(ffc(kind, bias, num_filters=num_filters, interpolate=interpolate))
    x = torch.randn(SHAPES[kind])
    outputs = layer.outputs(x)
    assert len(outputs) == layer.num_outputs == (2 * num_filters + 1 if interpolate else num_filters + 1)
    torch.testing.assert_close(outputs, torch.stack(literal.outputs(layer, x)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("num_classes", [1, 2, K])
def test_testing_returns_the_elected_output(literal, scramble, kind, interpolate, num_classes):
    layer = scramble(ffc(kind, num_classes=num_classes, interpolate=interpolate)).eval()
    x = torch.randn(40, *SHAPES[kind][1:])
    every_output = torch.stack(literal.outputs(layer, x))
    voted = literal.samples(layer(x)[None], class_dim(layer))
    ballots = literal.samples(every_output, class_dim(layer))
    for (result,), outputs in zip(voted, ballots, strict=True):
        allowed = [outputs[m] for m in literal.winners(outputs, rounding=1e-5)]
        assert any(result == pytest.approx(winner, abs=1e-4) for winner in allowed)


@pytest.mark.parametrize("kind", KINDS)
def test_vote_and_mean_differ_in_testing(scramble, kind):
    layer = scramble(ffc(kind)).eval()
    x = torch.randn(SHAPES[kind])
    voted = layer(x)
    layer.test_reduce = "mean"
    assert not torch.allclose(layer(x), voted, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolate", [True, False])
def test_mean_reduction_tests_as_it_trains(literal, scramble, kind, interpolate):
    layer = scramble(ffc(kind, interpolate=interpolate, test_reduce="mean"))
    x = torch.randn(SHAPES[kind])
    trained = layer(x)
    assert torch.equal(layer.eval()(x), trained)
    torch.testing.assert_close(trained, literal.mean(layer, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolate", [True, False])
def test_a_single_output_is_that_of_the_literal_chain(literal, scramble, kind, interpolate):
    layer = scramble(ffc(kind, interpolate=interpolate)).eval()
    x = torch.randn(SHAPES[kind])
    expected = literal.outputs(layer, x)
    assert layer.test_reductions == ("vote", "mean", *(f"out{i}" for i in range(1, len(expected) + 1)))
    for name, logits in zip(layer.test_reductions[2:], expected, strict=True):
        layer.test_reduce = name
        torch.testing.assert_close(layer(x), logits, rtol=1e-5, atol=1e-5)
    layer.test_reduce = "out1"
    assert torch.equal(layer(x), stock_twin(layer)(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("test_reduce", ["vote", "mean", "out5"])
def test_training_does_not_depend_on_test_reduce(kind, test_reduce):
    layer, x = ffc(kind), torch.randn(SHAPES[kind])
    expected = layer(x)
    layer.test_reduce = test_reduce
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_training_costs_one_classifier_product(kind):
    x = torch.randn(SHAPES[kind])
    flops = []
    for layer in (stock(kind), ffc(kind)):
        with FlopCounterMode(display=False) as counter:
            layer(x)
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1] > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolate", [True, False])
def test_training_path_has_exact_derivatives(scramble, kind, interpolate):
    layer = scramble(ffc(kind, num_filters=2, num_classes=2, interpolate=interpolate)).double()
    x = torch.randn((2, C) if kind == "linear" else (1, C, 2, 1), dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_a_vote_is_that_of_the_winners(literal, scramble, kind):
    layer = scramble(ffc(kind)).eval()
    x = torch.randn(SHAPES[kind])

    def winners(x):
        outputs = torch.stack(literal.outputs(layer, x)).movedim(class_dim(layer), -1)
        ballots = literal.samples(outputs, -1)
        index = torch.tensor([literal.winners(sample)[0] for sample in ballots])
        chosen = outputs.flatten(1, -2)[index, torch.arange(len(index))]
        return chosen.reshape(outputs.shape[1:]).movedim(-1, class_dim(layer))

    torch.testing.assert_close(gradients(layer, x), gradients(layer, x, winners), rtol=1e-4, atol=1e-5)


# Drop-in for the stock layer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zero_filters_equals_stock_layer(kind, training, bias, dtype):
    layer = ffc(kind, bias, num_filters=0).to(dtype).train(training)
    x = torch.randn(SHAPES[kind]).to(dtype)
    found, expected = gradients(layer, x), gradients(stock_twin(layer).to(dtype), x)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_first_output_is_the_stock_result(kind):
    layer, x = ffc(kind), torch.randn(SHAPES[kind])
    assert torch.equal(layer.outputs(x)[0], stock_twin(layer)(x))


@pytest.mark.parametrize("kind", KINDS)
def test_layer_is_its_stock_layer_with_a_list_of_layer_norms(kind):
    layer = ffc(kind, num_filters=2, eps=1e-3)
    assert isinstance(layer, type(stock(kind)))
    assert isinstance(layer.filters, nn.ModuleList) and isinstance(layer.filters, FeatureFilter)
    assert [(type(norm), norm.normalized_shape, norm.eps) for norm in layer.filters] == [(nn.LayerNorm, (C,), 1e-3)] * 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_stock_checkpoint_lacks_exactly_the_filters(kind, bias):
    layer = ffc(kind, bias)
    filters = [f"filters.{i}.{name}" for i in range(3) for name in ("weight", "bias")]
    keys = layer.load_state_dict(stock(kind, bias).state_dict(), strict=False)
    assert sorted(keys.missing_keys) == sorted(filters) and keys.unexpected_keys == []
    assert list(layer.state_dict()) == ["weight", "bias"][: 1 + bias] + filters


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (FFCLinear, nn.Linear, (C, K)),
        (FFCLinear, nn.Linear, (C, K, False, "cpu", torch.float64)),
        (FFCConv2d, nn.Conv2d, (C, K, 1)),
        (FFCConv2d, nn.Conv2d, (C, K, (1, 1), (1, 1), (0, 0), (1, 1), 1, False, "reflect", "meta", torch.float16)),
        (FFCConv2d, nn.Conv2d, (C, K, 1, 1, "same", 2)),
        (FFCConv2d, nn.Conv2d, (C, K, [1, 1], 1, "valid")),
    ],
)
def test_positional_arguments_are_those_of_the_stock_layer(ours, theirs, arguments):
    layer, twin = ours(*arguments), theirs(*arguments)
    assert theirs.extra_repr(layer) in repr(twin)
    assert {name: (p.shape, p.dtype, p.device) for name, p in twin.named_parameters()} == {
        name: (p.shape, p.dtype, p.device) for name, p in layer.named_parameters() if not name.startswith("filters.")
    }
    assert list(inspect.signature(ours.forward).parameters)[:2] == list(inspect.signature(theirs.forward).parameters)
    names = list(inspect.signature(theirs).parameters)
    assert list(inspect.signature(ours).parameters)[: len(names)] == names


@pytest.mark.parametrize(
    ("name", "value"),
    [("kernel_size", 3), ("kernel_size", (1, 3)), ("kernel_size", False), ("kernel_size", None), ("stride", 2),
     ("padding", 1), ("padding", "reflect"), ("groups", 2)],
)  # fmt: skip
def test_a_convolution_that_is_not_pointwise_is_refused_by_name(name, value):
    hint = r"; bias is the eighth" if value is False else "$"
    with pytest.raises(ValueError, match=rf"1x1 convolution.*got {name}={re.escape(repr(value))}{hint}"):
        FFCConv2d(C, K, **{name: value})


@pytest.mark.parametrize("num_filters", range(4))
def test_each_filter_adds_two_parameters_per_feature(num_filters):
    count = sum(p.numel() for p in FFCLinear(2048, 1000, num_filters=num_filters, device="meta").parameters())
    assert count == 2048 * 1000 + 1000 + 2 * 2048 * num_filters


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("autocast", [False, True])
def test_result_has_the_layout_of_the_stock_result(kind, training, autocast):
    layer = ffc(kind).train(training)
    x = torch.randn(SHAPES[kind])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected, found = stock_twin(layer)(x), layer(x)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


def test_optimizers_recognise_the_filters_as_norm_layers():
    model = nn.Sequential(nn.Linear(C, C), FFCLinear(C, K))
    norms = {id(p) for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters(recurse=False)}
    assert {name for name, p in model.named_parameters() if id(p) in norms} == {
        f"1.filters.{i}.{name}" for i in range(3) for name in ("weight", "bias")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_init_weights_restores_the_filters_alone(scramble, kind):
    layer = scramble(ffc(kind))
    weight = layer.weight.detach().clone()
    layer.init_weights()
    assert torch.equal(layer.weight, weight)
    assert all(torch.equal(norm.weight, torch.ones(C)) and not norm.bias.any() for norm in layer.filters)


# from_layer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_from_layer_takes_over_parameters_dtype_and_mode(kind, bias, dtype, training):
    layer = stock(kind, bias, dtype=dtype).train(training)
    converted = type(ffc(kind)).from_layer(layer, num_filters=2, interpolate=False, test_reduce="mean", eps=1e-3)
    assert converted.weight is layer.weight and converted.bias is layer.bias
    assert {p.dtype for p in converted.parameters()} == {dtype}
    assert all(module.training == training for module in converted.modules())
    assert (converted.num_filters, converted.interpolate, converted.test_reduce) == (2, False, "mean")
    assert all(norm.eps == 1e-3 and norm.weight.eq(1).all() and norm.bias.eq(0).all() for norm in converted.filters)


@pytest.mark.parametrize("kind", KINDS)
def test_from_layer_equals_the_constructor(kind):
    layer = stock(kind)
    converted, built = type(ffc(kind)).from_layer(layer), ffc(kind)
    built.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randn(SHAPES[kind])
    assert repr(converted) == repr(built)
    assert torch.equal(converted(x), built(x)) and torch.equal(converted.eval()(x), built.eval()(x))


@pytest.mark.parametrize("kind", KINDS)
def test_from_layer_takes_over_device(kind):
    converted = type(ffc(kind)).from_layer(stock(kind, device="meta"))
    assert {p.device.type for p in converted.parameters()} == {"meta"}


@pytest.mark.parametrize("kind", KINDS)
def test_from_layer_draws_no_random_number(kind):
    layer = stock(kind)
    before = torch.get_rng_state()
    type(ffc(kind, device="meta")).from_layer(layer)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("target", "layer", "reason"),
    [
        (FFCConv2d, nn.Conv2d(C, K, 3), "kernel_size"),
        (FFCConv2d, nn.Conv2d(C, 6, 1, groups=2), "groups"),
        (FFCConv2d, nn.Conv2d(C, K, 1, stride=2), "stride"),
        (FFCConv2d, nn.Conv2d(C, K, 1, padding=1), "padding"),
        (FFCConv2d, nn.Linear(C, K), "nn.Conv2d"),
        (FFCConv2d, FFCConv2d(C, K), "already"),
        (FFCLinear, FFCLinear(C, K), "already"),
        (FFCLinear, nn.Conv2d(C, K, 1), "nn.Linear"),
        (FFCLinear, nn.LazyLinear(K), "no shape"),
        (FFCLinear, nn.utils.parametrizations.weight_norm(nn.Linear(C, K)), "parametrized"),
        (FFCLinear, nn.Identity(), "nn.Linear"),
    ],
)
def test_from_layer_refuses_with_a_reason(target, layer, reason):
    with pytest.raises(TypeError, match=reason):
        target.from_layer(layer)


# Options


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["Vote", "max", "", None, "out0", "out8", "out01", "out"])
def test_unknown_test_reduce_lists_the_valid_names(kind, name):
    with pytest.raises(ValueError, match="'vote', 'mean'"):
        ffc(kind, test_reduce=name)
    layer = ffc(kind)
    with pytest.raises(ValueError, match="'vote', 'mean'"):
        layer.test_reduce = name
    assert layer.test_reduce == "vote"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "option",
    [
        *[{"num_filters": value} for value in (-1, 1.0, True, "3", None)],
        *[{"eps": value} for value in (0.0, 9e-6, -1.0, float("nan"))],
        *[{"interpolate": value} for value in (1, 0, None, "yes")],
    ],
    ids=repr,
)
def test_option_out_of_range_is_named(kind, option):
    (name,) = option
    with pytest.raises(ValueError, match=name):
        ffc(kind, **option)
    with pytest.raises(ValueError, match=name):
        type(ffc(kind)).from_layer(stock(kind), **option)


@pytest.mark.parametrize("kind", KINDS)
def test_ffc_options_are_keyword_only(kind):
    parameters = inspect.signature(type(ffc(kind))).parameters
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in OPTIONS)


# Precision and awkward features


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_module_converts_to_other_dtypes(kind, training, dtype):
    layer = ffc(kind).train(training)
    layer = {torch.float16: layer.half, torch.bfloat16: layer.bfloat16, torch.float64: layer.double}[dtype]()
    found = gradients(layer, torch.randn(SHAPES[kind]).to(dtype))
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(found, dtype)
    assert all(value.isfinite().all() for value in found.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_is_closer_to_exact_than_a_bfloat16_chain(literal, scramble, kind, autocast):
    layer = scramble(ffc(kind))
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(p.bfloat16())  # exact in both dtypes
    x = (torch.randn(50, *SHAPES[kind][1:]) * 5).bfloat16()
    exact = torch.stack(literal.outputs(copy.deepcopy(layer).double(), x.double()))
    chain = torch.stack(literal.outputs(copy.deepcopy(layer).bfloat16(), x))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = (layer if autocast else layer.bfloat16()).outputs(x)
    assert found.dtype == torch.bfloat16

    def error(outputs):
        return (outputs[-1] - exact[-1]).abs().mean()  # of the end of the chain

    assert error(found) < 0.8 * error(chain)  # whose stages are rounded one by one; torch keeps statistics in fp32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1e4, torch.float16), (1e4, torch.float32), (1e18, torch.float32), (1e30, torch.float32), (1e30, torch.bfloat16)],
)
@pytest.mark.parametrize("feature", ["zero", "constant", "one-hot", "random"])
def test_awkward_features_give_finite_results_and_gradients(kind, training, size, dtype, feature):
    layer = ffc(kind).to(dtype).train(training)
    rows = {
        "zero": torch.zeros(6, C),
        "constant": torch.ones(6, C),
        "one-hot": torch.eye(C)[:6],
        "random": torch.randn(6, C).clamp(-3, 3),
    }[feature]
    x = (rows * size).to(dtype)
    found = gradients(layer, x if kind == "linear" else x[:, :, None, None])
    assert all(value.isfinite().all() for value in found.values())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("kind", "shape"), [("linear", (0, C)), ("linear", (2, 0, C)), ("conv", (0, C, 4, 4)), ("conv", (0, C, 1, 1))]
)
def test_empty_batch_gives_every_parameter_a_zero_gradient(kind, shape, training):
    layer = ffc(kind).train(training)
    found = gradients(layer, torch.randn(shape))
    assert found.pop("forward").shape == ((*shape[:-1], K) if kind == "linear" else (0, K, *shape[2:]))
    assert found.pop("x").shape == shape
    assert len(found) == 8 and all(torch.equal(grad, torch.zeros_like(grad)) for grad in found.values())


@pytest.mark.parametrize("training", [True, False])
def test_map_without_positions_is_refused_as_by_the_stock_layer(training):
    x = torch.randn(2, C, 0, 4)
    for refuse in (stock("conv"), ffc("conv", num_filters=0).train(training)):
        with pytest.raises(RuntimeError, match="size"):
            refuse(x)
    with pytest.raises(ValueError, match=rf"H, W >= 1.*\(2, {C}, 0, 4\)"):
        ffc("conv").train(training)(x)


@pytest.mark.parametrize("training", [True, False])
def test_wrong_input_is_named(training):
    linear, conv = ffc("linear").train(training), ffc("conv").train(training)
    with pytest.raises(ValueError, match=rf"{C} features.*\(6, {C + 1}\)"):
        linear(torch.zeros(6, C + 1))
    with pytest.raises(ValueError, match=rf"{C} features.*\(2, 7, 4, {C}\)"):
        conv(torch.zeros(2, 7, 4, C))
    for layer in (linear, conv):
        with pytest.raises(TypeError, match="int64"):
            layer(torch.zeros(C, 2, C, dtype=torch.int64))


# Shapes, layouts, graphs, copies


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(C,), (2, 3, C), (2, 1, 2, C)])
def test_linear_treats_every_leading_dimension_as_samples(scramble, training, shape):
    layer = scramble(ffc("linear")).train(training)
    x = torch.randn(shape)
    torch.testing.assert_close(layer(x), layer(x.reshape(-1, C)).reshape(*shape[:-1], K))


@pytest.mark.parametrize("training", [True, False])
def test_conv_takes_an_unbatched_map(scramble, training):
    layer = scramble(ffc("conv")).train(training)
    x = torch.randn(C, 3, 4)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_conv_equals_linear_at_every_position(scramble, training, bias):
    conv = scramble(ffc("conv", bias)).train(training)
    linear = ffc("linear", bias).train(training)
    linear.load_state_dict({k: v.flatten(1) if k == "weight" else v for k, v in conv.state_dict().items()})
    x = torch.randn(SHAPES["conv"])
    torch.testing.assert_close(conv(x), linear(x.movedim(1, -1)).movedim(-1, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_layout_does_not_matter(scramble, kind, training):
    layer = scramble(ffc(kind)).train(training)
    x = torch.randn(SHAPES[kind])
    strided = torch.stack([x, torch.zeros_like(x)], -1)[..., 0]
    layouts = [strided, x.transpose(0, 1).contiguous().transpose(0, 1)]
    if kind == "conv":
        layouts.append(x.to(memory_format=torch.channels_last))
    expected = gradients(layer, x)
    for other in layouts:
        assert not other.is_contiguous() and torch.equal(other, x)
        torch.testing.assert_close(gradients(layer, other), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_input_is_left_alone(kind, training):
    layer, x = ffc(kind).train(training), torch.randn(SHAPES[kind])
    before = x.clone()
    layer(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", KINDS)
def test_layer_can_be_used_twice_in_a_graph(scramble, kind):
    layer = scramble(ffc(kind))
    a, b = torch.randn(2, *SHAPES[kind])
    both = gradients(layer, a, lambda x: layer(x) + layer(b))
    once = [gradients(layer, x) for x in (a, b)]
    for name, _ in layer.named_parameters():
        torch.testing.assert_close(both[name], once[0][name] + once[1][name], rtol=1e-5, atol=1e-5)


def reloaded(layer):
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh = ffc("conv" if isinstance(layer, nn.Conv2d) else "linear", num_filters=2, interpolate=False)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer)), reloaded])
def test_copies_compute_the_same_with_parameters_of_their_own(scramble, kind, copied):
    layer = scramble(ffc(kind, num_filters=2, interpolate=False)).eval()
    other = copied(layer)
    x = torch.randn(SHAPES[kind])
    assert torch.equal(other(x), layer(x)) and repr(other) == repr(layer)
    assert not {p.data_ptr() for p in other.parameters()} & {p.data_ptr() for p in layer.parameters()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("test_reduce", ["vote", "mean"])
def test_exported_program_equals_the_layer_for_any_batch(scramble, kind, test_reduce):
    layer = scramble(ffc(kind, test_reduce=test_reduce)).eval()
    example = torch.randn(4, *SHAPES[kind][1:])
    program = torch.export.export(layer, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for batch in (1, 2, 9):
        x = torch.randn(batch, *SHAPES[kind][1:])
        assert torch.equal(program(x), layer(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")
def test_traced_vote_equals_the_layer(scramble, kind):
    layer = scramble(ffc(kind)).eval()
    traced = torch.jit.trace(layer, torch.randn(4, *SHAPES[kind][1:]))
    x = torch.randn(9, *SHAPES[kind][1:])
    torch.testing.assert_close(traced(x), layer(x))


def test_repr_shows_the_options():
    text = repr(FFCLinear(C, K, num_filters=2, interpolate=False, test_reduce="mean"))
    for part in (f"in_features={C}", "num_filters=2", "interpolate=False", "test_reduce='mean'"):
        assert part in text
