"""Properties of the core for shapes, options and values that hypothesis draws.

The draws are the same in every run (``derandomize``) and have no deadline. HYPOTHESIS_MAX_EXAMPLES=N draws N per
property, and then at random.
"""

import copy
import io
import itertools
import os
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from ffc_dense import FFCConv2d, FFCLinear, attach, get_backend, set_backend, vote
from ffc_dense.method.fast import blocks
from ffc_dense.segmentation.model.upsampling import bilinear_strips

MORE = int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "0"))


def examples(count):
    """``count`` examples by default."""
    return settings(
        max_examples=MORE or count,
        derandomize=not MORE,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@contextmanager
def backend(name, block_positions=None, features=1):
    """The backend ``name`` within, with blocks of so many positions."""
    before, size = get_backend(), blocks.CPU_BLOCK_BYTES
    try:
        set_backend(name)
        if block_positions:
            blocks.CPU_BLOCK_BYTES = block_positions * features * 8 // torch.get_num_threads()
        yield
    finally:
        set_backend(before)
        blocks.CPU_BLOCK_BYTES = size


# Drawn layers and features

seeds = st.integers(0, 2**31 - 1)


@st.composite
def layers(draw, most_filters=6, **fixed):
    """An FFC layer in float64 whose every parameter is random, and features for it."""
    num_features, num_classes = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    options = dict(
        num_filters=draw(st.integers(0, most_filters)),
        interpolate=draw(st.booleans()),
        eps=draw(st.sampled_from([1e-5, 1e-3, 0.5])),
    )
    options |= fixed
    kind = draw(st.sampled_from([FFCLinear, FFCConv2d]))
    torch.manual_seed(draw(seeds))
    layer = kind(num_features, num_classes, bias=draw(st.booleans()), dtype=torch.float64, **options)
    assert all(norm.eps == options["eps"] for norm in layer.filters) and len(layer.filters) == options["num_filters"]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    if kind is FFCLinear:
        shape = (*draw(st.lists(st.integers(1, 4), max_size=3)), num_features)
        x = torch.randn(shape, dtype=torch.float64)
    else:
        size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
        shape = (*draw(st.lists(st.integers(1, 3), max_size=1)), num_features, *size)
        x = torch.randn(shape, dtype=torch.float64)
        if len(shape) == 4 and draw(st.booleans()):
            x = x.contiguous(memory_format=torch.channels_last)
    if draw(st.booleans()):  # strides that are no multiple of the sizes
        x = torch.stack([x, x], -1)[..., 0]
    return layer, x * draw(st.sampled_from([1e-3, 1.0, 1e3]))


def gradients(layer, x, forward):
    """The result, and the gradients of a fixed projection of it by x and every parameter."""
    x = x.detach().requires_grad_()
    result = forward(x)
    direction = torch.randn(result.shape, generator=torch.Generator().manual_seed(1), dtype=result.dtype)
    inputs = [x, *layer.parameters()]
    found = torch.autograd.grad((result * direction).sum(), inputs, allow_unused=True, materialize_grads=True)
    return [result.detach(), *found]


def class_dim(layer):
    return -3 if isinstance(layer, nn.Conv2d) else -1


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@examples(60)
@given(drawn=layers(), name=st.sampled_from(["composite", "blocked"]), positions=st.integers(1, 9))
def test_training_and_its_gradients_equal_the_literal_mean(literal, drawn, name, positions):
    layer, x = drawn
    with backend(name, positions, x.shape[class_dim(layer)]):
        found = gradients(layer, x, layer)
    assert_close(found, gradients(layer, x, lambda x: literal.mean(layer, x)))


@examples(60)
@given(drawn=layers(), name=st.sampled_from(["composite", "blocked"]), positions=st.integers(1, 9))
def test_outputs_equal_the_literal_outputs(literal, drawn, name, positions):
    layer, x = drawn
    with backend(name, positions, x.shape[class_dim(layer)]), torch.no_grad():
        found = layer.outputs(x)
    assert_close(found, torch.stack(literal.outputs(layer, x)))


@examples(30)
@given(drawn=layers(most_filters=3), data=st.data())
def test_testing_equals_the_literal_reduction_and_its_gradients(literal, drawn, data):
    layer, x = drawn
    layer.eval().test_reduce = data.draw(st.sampled_from(layer.test_reductions))
    outputs = torch.stack(literal.outputs(layer, x))
    if layer.test_reduce == "vote":
        dim = class_dim(layer)
        ballots = literal.samples(outputs, dim)
        result, index = layer(x), vote(layer.outputs(x), dim)[1]
        for winner, sample in zip(index.flatten().tolist(), ballots, strict=True):
            assert winner in literal.winners(sample, rounding=1e-9)
        assert_close(result, outputs.gather(0, index.unsqueeze(dim)[None].expand(1, *outputs.shape[1:]))[0])
        return

    def reference(x):
        if layer.test_reduce == "mean":
            return literal.mean(layer, x)
        return literal.outputs(layer, x)[int(layer.test_reduce[3:]) - 1]

    assert_close(gradients(layer, x, layer), gradients(layer, x, reference))


@examples(40)
@given(drawn=layers(num_filters=3), positions=st.integers(1, 9), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_blocked_equals_composite(drawn, positions, dtype):
    layer, x = drawn[0].to(dtype), drawn[1].to(dtype)
    results = []
    for name in ("blocked", "composite"):
        with backend(name, positions, x.shape[class_dim(layer)]):
            results.append(gradients(layer, x, layer))
    for blocked, composite in zip(*results, strict=True):
        scale = composite.abs().amax().clamp(min=1).item()
        torch.testing.assert_close(blocked, composite, rtol=0, atol=scale * (1e-4 if dtype is torch.float32 else 1e-10))


@examples(40)
@given(drawn=layers(num_filters=0), training=st.booleans())
def test_without_filters_it_is_the_stock_layer_to_the_bit(drawn, training):
    layer, x = drawn
    stock = nn.Linear(1, 1) if isinstance(layer, FFCLinear) else nn.Conv2d(1, 1, 1)
    stock.weight, stock.bias = layer.weight, layer.bias
    layer.train(training)
    for found, expected in zip(gradients(layer, x, layer), gradients(layer, x, stock), strict=True):
        assert torch.equal(found, expected)


@examples(40)
@given(drawn=layers(), features_scale=st.sampled_from([2.0**-20, 2.0**20]), offset=st.sampled_from([0.0, 64.0]))
def test_stages_behind_the_first_do_not_see_scale_and_offset(drawn, features_scale, offset):
    layer, x = drawn
    x = x / x.abs().amax().clamp(min=1e-9)
    assume(layer.num_filters > 0)
    for norm in layer.filters:
        norm.eps = 0.0  # else the scale shows beside it
    spread = x.std(class_dim(layer), correction=0, keepdim=True)
    clear = (spread > 0.05).expand_as(x)
    usual = layer.filters(x, class_dim(layer))[1]
    moved = layer.filters(x * features_scale + offset * features_scale, class_dim(layer))[1]
    torch.testing.assert_close(moved[clear], usual[clear], rtol=1e-6, atol=1e-6)


# Attaching and state


@st.composite
def models(draw):
    """A model with nested layers, and the names of those that can be replaced."""
    torch.manual_seed(draw(seeds))
    parts, names = nn.ModuleDict(), []
    for i in range(draw(st.integers(1, 4))):
        size, classes, bias = draw(st.integers(1, 8)), draw(st.integers(1, 5)), draw(st.booleans())
        convertible = draw(st.sampled_from(["linear", "conv", "other"]))
        if convertible == "linear":
            layer = nn.Linear(size, classes, bias)
        elif convertible == "conv":
            layer = nn.Conv2d(size, classes, 1, bias=bias)
        else:
            layer = nn.Conv2d(size, classes, 3, bias=bias)
        nested = draw(st.booleans())
        parts[f"part{i}"] = nn.Sequential(nn.ReLU(), layer) if nested else layer
        if convertible != "other":
            names.append(f"part{i}.1" if nested else f"part{i}")
    return parts, names


@examples(40)
@given(drawn=models(), num_filters=st.integers(0, 4), data=st.data())
def test_attach_keeps_the_stock_keys_and_adds_the_filters_alone(drawn, num_filters, data):
    model, names = drawn
    if names and data.draw(st.booleans()):  # the model may hold a layer under a second name
        model["again"] = model.get_submodule(names[0])
        names = [*names, "again"]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    if not names:
        with pytest.raises(ValueError, match=r"no nn\.Linear or 1x1 nn\.Conv2d"):
            attach(model, "part0")
        return
    name = data.draw(st.sampled_from(names))
    stock = model.get_submodule(name)
    parameters = list(stock.parameters())
    random = torch.get_rng_state()
    assert attach(model, name, num_filters=num_filters) is model
    assert torch.equal(torch.get_rng_state(), random)
    ffc = model.get_submodule(name)
    assert all(a is b for a, b in zip(ffc.parameters(), parameters, strict=False))
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    places = [place for place in names if model.get_submodule(place) is ffc]
    assert not any(module is stock for module in model.modules()) and name in places
    filters = [f"filters.{i}.{kind}" for i in range(num_filters) for kind in ("weight", "bias")]
    added = {f"{place}.{key}" for place in places for key in filters}
    assert after.keys() - before.keys() == added
    shape = (2, ffc.weight.shape[1]) + ((3, 3) if isinstance(ffc, nn.Conv2d) else ())
    x = torch.randn(shape)
    assert torch.equal(ffc.outputs(x)[0], stock(x))


@examples(30)
@given(drawn=layers(), training=st.booleans())
def test_state_dict_makes_the_same_layer_of_a_fresh_one(drawn, training):
    layer, x = drawn
    fresh = type(layer)(
        layer.weight.shape[1],
        len(layer.weight),
        bias=layer.bias is not None,
        num_filters=layer.num_filters,
        interpolate=layer.interpolate,
        eps=layer.filters[0].eps if layer.num_filters else 1e-5,
        dtype=torch.float64,
    )
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    twin = copy.deepcopy(layer)
    for other in (fresh, twin):
        assert torch.equal(other.train(training)(x), layer.train(training)(x))
    assert list(fresh.state_dict()) == list(layer.state_dict())


# The vote


@st.composite
def elections(draw):
    """(M, N, K) logits of few different values, so that ties are frequent; all probabilities are 0 or 1 / k."""
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 12), st.integers(1, 5)))
    torch.manual_seed(draw(seeds))
    values = torch.tensor(draw(st.sampled_from([[0.0, 200.0], [0.0, 200.0, -200.0], [0.0, float("nan"), 200.0]])))
    return values[torch.randint(len(values), shape)]


@examples(60)
@given(outputs=elections(), seed=seeds, group=st.integers(1, 40))
def test_vote_does_not_depend_on_what_is_voted_beside_it(outputs, seed, group, monkeypatch):
    torch.manual_seed(seed)
    order = torch.randperm(outputs.shape[1])
    result, index = vote(outputs, -1)
    assert torch.equal(vote(outputs[:, order], -1)[1], index[order])
    alone = torch.cat([vote(outputs[:, i : i + 1], -1)[1] for i in range(outputs.shape[1])])
    assert torch.equal(alone, index)
    monkeypatch.setattr("ffc_dense.method.voting.GROUP_ELEMENTS", group)
    assert torch.equal(vote(outputs, -1)[1], index)
    maps = outputs.movedim(-1, 1)[:, None, :, :, None]  # (M, 1, K, N, 1)
    assert torch.equal(vote(maps, 2)[1].flatten(), index)
    chosen = outputs[index, torch.arange(len(index))]
    assert torch.equal(result.nan_to_num(nan=7.0), chosen.nan_to_num(nan=7.0))


@examples(60)
@given(outputs=elections(), offset=st.sampled_from([-1000.0, 8.0, 4096.0]), repeats=st.integers(1, 3))
def test_vote_does_not_see_offsets_and_repeated_ballots(outputs, offset, repeats):
    _, index = vote(outputs, -1)
    if outputs.shape[-1] > 1:  # a single logit is a probability of its own
        assert torch.equal(vote(outputs + offset, -1)[1], index)
    assert torch.equal(vote(outputs.repeat(repeats, 1, 1), -1)[1], index)


@examples(60)
@given(outputs=elections(), data=st.data())
def test_unanimous_and_majority_votes_win(outputs, data):
    classes = outputs.shape[-1]
    assume(classes > 1)
    label = data.draw(st.integers(0, classes - 1))
    outputs = outputs.nan_to_num(nan=0.0)
    majority = len(outputs) // 2 + 1
    outputs[:majority] = outputs[:majority].scatter(-1, torch.full((*outputs[:majority].shape[:2], 1), label), 300.0)
    result, index = vote(outputs, -1)
    assert (result.argmax(-1) == label).all()
    assert all(outputs[m, i].argmax() == label for i, m in enumerate(index.tolist()))


# Upsampling


@examples(60)
@given(
    leading=st.lists(st.integers(1, 3), max_size=3),
    classes=st.integers(1, 5),
    source=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    align_corners=st.booleans(),
    elements=st.integers(1, 400),
    seed=seeds,
)
def test_strips_equal_the_whole(leading, classes, source, size, align_corners, elements, seed):
    torch.manual_seed(seed)
    maps = torch.randn(*leading, classes, *source, dtype=torch.float64)
    strips = list(bilinear_strips(maps, size, align_corners, elements))
    images = maps.reshape(-1, classes, *source)
    whole = F.interpolate(images, size, mode="bilinear", align_corners=align_corners).view(*leading, classes, *size)
    rows = [row for part, _ in strips for row in range(part.start, part.stop)]
    assert rows == list(range(size[0]))
    per_strip = max(1, elements // (images.shape[0] * classes * size[1]))
    assert all(part.stop - part.start <= per_strip for part, _ in strips)
    torch.testing.assert_close(torch.cat([strip for _, strip in strips], -2), whole, rtol=1e-6, atol=1e-6)


@examples(30)
@given(drawn=layers(num_filters=2), names=st.permutations(["vote", "mean", "out1", "out2", "out3"]))
def test_reductions_leave_no_trace_in_the_layer(drawn, names):
    layer, x = drawn
    layer.eval()
    first = {}
    for name in itertools.chain(names, reversed(names)):
        layer.test_reduce = name
        result = layer(x)
        assert torch.equal(first.setdefault(name, result), result)
