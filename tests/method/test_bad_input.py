"""Wrong shapes, dtypes, devices and options into the core: an error that names the argument, the value and what is due.

Each case is a call, the error's type, and what its message must hold. ``test_number_of_cases`` prints how many there
are. With ``num_filters=0`` an FFC layer is the stock layer, errors included; the last test says so.
"""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ffc_dense import FeatureFilter, FFCConv2d, FFCLinear, attach, get_backend, set_backend, vote
from ffc_dense.method.filtering import interpolate_outputs, mean_feature, stage_weights
from ffc_dense.method.reductions import choose_reductions, ffc_layers, reduced
from ffc_dense.segmentation.model.upsampling import bilinear_strips

C, K = 8, 3
LAYERS = {FFCLinear: (2, C), FFCConv2d: (2, C, 3, 3)}
NO_COUNT = [-1, 2.0, True, None, "3", float("nan"), [3], torch.tensor(3)]
NO_FLAG = [1, 0, None, "yes", torch.tensor(True)]
NO_TENSOR = ["text", None, 3, 2.5, np.zeros((2, C), np.float32), {}]
NO_DTYPE = [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn]
FEATURES = f"{C} features"


def options():
    """Constructors and conversions: (call, error, parts of its message)."""
    for cls in LAYERS:
        sizes = ("in_features", "out_features") if cls is FFCLinear else ("in_channels", "out_channels")
        stock = nn.Linear(C, K) if cls is FFCLinear else nn.Conv2d(C, K, 1)
        named = [
            *[("num_filters", value) for value in [*NO_COUNT, 101, 10**9]],
            *[("eps", value) for value in (0, -1.0, 9e-6, float("inf"), float("nan"), True, None, "1e-5")],
            *[("interpolate", value) for value in NO_FLAG],
            *[("test_reduce", value) for value in ("Vote", "", None, 3, ["vote"], "out0", "out8", "out1 ", b"vote")],
        ]
        for name, value in named:
            yield lambda c=cls, o={name: value}: c(C, K, **o), ValueError, [name, repr(value)]
            yield lambda c=cls, o={name: value}, s=stock: c.from_layer(s, **o), ValueError, [name, repr(value)]
        for value in [*NO_COUNT, 0, (8,)]:
            yield lambda c=cls, v=value: c(v, K), ValueError, [sizes[0], ">= 1", repr(value)]
            yield lambda c=cls, v=value: c(C, v), ValueError, [sizes[1], ">= 1", repr(value)]
        for value in NO_FLAG:
            yield lambda c=cls, v=value: c(C, K, bias=v), ValueError, ["bias", "True or False", repr(value)]
        for value in [*NO_DTYPE, "float32"]:
            yield lambda c=cls, v=value: c(C, K, dtype=v), TypeError, ["dtype", "float32", str(value)]
        for value in (None, "a", 3, nn.Linear, nn.Identity()):
            yield lambda c=cls, v=value: c.from_layer(v), TypeError, [stock.__class__.__name__, type(value).__name__]
        yield lambda c=cls, s=stock: c.from_layer(s, nfilters=3), TypeError, ["'nfilters'", "num_filters"]
    for value in [*NO_COUNT, 0, (8,)]:
        yield lambda v=value: FeatureFilter(v), ValueError, ["num_features", ">= 1", repr(value)]
    for value in [*NO_COUNT, 101, 10**9]:
        yield lambda v=value: FeatureFilter(C, v), ValueError, ["num_filters", ">= 0 and <= 100", repr(value)]
    for value in NO_DTYPE:
        yield lambda v=value: FeatureFilter(C, dtype=v), TypeError, ["dtype", "float32", str(value)]


def inputs():
    """Features that layers and filters cannot take."""
    for cls, shape in LAYERS.items():
        good = torch.zeros(shape)
        wrong = [(), (C + 1,), (2, C + 1), (2, C + 1, 3, 3), (C, 3), (2, C, 3), (2, 2, C, 3), (0, C + 1), (0,), (0, 0)]
        for training in (True, False):
            layer = cls(C, K).train(training)
            for call in (layer, layer.outputs):
                for value in [*NO_TENSOR, [1.0] * C]:
                    yield partial(call, value), TypeError, ["input", "torch.Tensor", type(value).__name__]
                for dtype in NO_DTYPE:
                    yield partial(call, good.to(dtype)), TypeError, ["input", "floating point", str(dtype)]
                for dtype in (torch.float64, torch.bfloat16, torch.float16):
                    parts = ["input", str(dtype), "weight", "torch.float32", "autocast"]
                    yield partial(call, good.to(dtype)), TypeError, parts
                for wrong_shape in wrong:
                    parts = [FEATURES, str(wrong_shape)]
                    yield partial(call, torch.zeros(wrong_shape)), ValueError, parts
                yield partial(call, good.to("meta")), ValueError, ["input", "meta", "cpu"]
                yield partial(call, good.to_sparse()), TypeError, ["input", "dense", "sparse"]
                if cls is FFCConv2d:
                    for wrong_shape in ((2, C, 0, 3), (2, C, 3, 0), (C, 0, 0), (2, 2, C, 3, 3), (1, 1, 1, C, 1, 1)):
                        parts = ["(N, 8, H, W)", str(wrong_shape)]
                        yield partial(call, torch.zeros(wrong_shape)), ValueError, parts
    filters = FeatureFilter(C)
    for value in NO_TENSOR:
        yield lambda v=value: filters(v), TypeError, ["input", "torch.Tensor", type(value).__name__]
    for dtype in NO_DTYPE:
        yield lambda d=dtype: filters(torch.zeros(2, C).to(d)), TypeError, ["input", "floating point", str(dtype)]
    for dim in (2, -3, 0, 100):
        yield lambda d=dim: filters(torch.zeros(2, C), d), ValueError, [FEATURES, f"dimension {dim}", "(2, 8)"]
    for dim in (1.0, True, None, "1", (1,)):
        yield lambda d=dim: filters(torch.zeros(2, C), d), TypeError, ["dim", "integer", repr(dim)]
    yield lambda: filters(torch.zeros(2, C, device="meta")), ValueError, ["meta", "cpu"]
    double = FFCLinear(C, K).double()
    yield lambda: under_autocast(double, torch.zeros(2, C)), TypeError, ["torch.float32", "torch.float64"]
    yield lambda: under_autocast(FFCLinear(C, K), torch.zeros(2, C).double()), TypeError, ["torch.float64"]


def under_autocast(layer, x):
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x)


def outputs():
    """The vote and the small functions that layers are made of."""
    good = torch.zeros(3, 4, 5)
    for value in [*NO_TENSOR, [good[0], good[1]], (good[0],)]:
        yield lambda v=value: vote(v, -1), TypeError, ["outputs", "torch.Tensor", type(value).__name__]
    for dtype in NO_DTYPE:
        yield lambda d=dtype: vote(good.to(d), -1), TypeError, ["outputs", "floating point", str(dtype)]
    yield lambda: vote(good.to_sparse(), -1), TypeError, ["outputs", "dense"]
    for dim in (0, 3, -3, -4, 100):
        yield lambda d=dim: vote(good, d), ValueError, ["class_dim", str(dim), "(3, 4, 5)"]
    for dim in (1.0, True, None, "1", (1,)):
        yield lambda d=dim: vote(good, d), TypeError, ["class_dim", "integer", repr(dim)]
    for shape in ((), (3,), (0,)):
        yield lambda s=shape: vote(torch.zeros(s), -1), ValueError, ["class_dim", str(shape)]
    for shape in ((0, 4, 5), (3, 4, 0), (3, 0), (0, 0)):
        yield lambda s=shape: vote(torch.zeros(s), -1), ValueError, ["at least one output", str(shape)]
    yield lambda: interpolate_outputs([]), ValueError, ["outputs", "at least one"]
    yield lambda: mean_feature([], True), ValueError, ["stages", "F_0"]
    for value in NO_COUNT:
        yield lambda v=value: stage_weights(v, True), ValueError, ["num_filters", ">= 0", repr(value)]


def maps():
    """Resizing in strips, at once and in several strips."""
    good = torch.zeros(2, 3, 4, 5)
    for elements in (None, 10):
        for value in NO_TENSOR:
            yield lambda v=value, e=elements: bilinear_strips(v, (8, 8), False, e), TypeError, ["maps", "torch.Tensor"]
        for dtype in NO_DTYPE:
            x = good.to(dtype)
            yield lambda x=x, e=elements: bilinear_strips(x, (8, 8), False, e), TypeError, ["maps", str(dtype)]
        for shape in ((), (5,), (4, 5), (2, 3, 0, 5), (2, 3, 4, 0), (2, 0, 4, 5)):
            x = torch.zeros(shape)
            yield lambda x=x, e=elements: bilinear_strips(x, (8, 8), False, e), ValueError, ["maps", str(shape)]
        for size in ((0, 5), (-1, 5), (5, 0), (5,), 5, None, "ab", (5.0, 5), (5, 5, 5), (True, 5), ("5", "5")):
            yield lambda s=size, e=elements: bilinear_strips(good, s, False, e), ValueError, ["size", repr(size)]
        for flag in NO_FLAG:
            yield lambda f=flag, e=elements: bilinear_strips(good, (8, 8), f, e), ValueError, ["align_corners"]
    for value in (0, -1, "a", 2.5, True):
        yield lambda v=value: bilinear_strips(good, (8, 8), True, v), ValueError, ["strip_elements", repr(value)]


def models():
    """Attaching, reductions and backends."""
    stock = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    ffc = nn.Sequential(FFCLinear(4, 4, num_filters=1))
    for name in ("1", "2", "x", "", "0."):
        reason = "kernel_size" if name == "2" else repr(name)
        yield lambda n=name: attach(stock, n), ValueError, [reason, "Candidates: 0"]
    for name in (None, 3, ["0"], b"0"):
        yield lambda n=name: attach(stock, n), TypeError, ["name", "string", repr(name)]
    for model in (None, "a", nn.Linear, 3):
        yield lambda m=model: attach(m, "0"), TypeError, ["model", "nn.Module", repr(model)]
        yield lambda m=model: ffc_layers(m), TypeError, ["model", "nn.Module", repr(model)]
        yield lambda m=model: choose_reductions(m), TypeError, ["model", "nn.Module", repr(model)]
    for option, error in (({"num_filters": -1}, ValueError), ({"eps": 0}, ValueError), ({"nfilters": 2}, TypeError)):
        yield lambda o=option: attach(stock, "0", **o), error, list(option)
    for wanted in ("vote", "all", None, 3, [3], [None], {"vote": 1}):
        yield lambda w=wanted: choose_reductions(ffc, w), TypeError, ["wanted", repr(wanted)]
    for wanted in (["x"], ["stock"], ("vote", "x"), ["out4"], [""]):
        yield lambda w=wanted: choose_reductions(ffc, w), ValueError, ["choose from", repr(wanted[-1])]
    yield lambda: choose_reductions(stock, ["vote"]), ValueError, ["vote", "no FFC classifier"]
    for name in ("x", None, 3, "out9"):
        yield lambda n=name: enter(ffc, n), ValueError, ["test_reduce", repr(name)]
    yield lambda: enter(stock, "vote"), ValueError, ["'vote'", "no FFC classifier"]
    for name in ("x", None, 3, ["auto"], "", "Auto"):
        yield lambda n=name: set_backend(n), ValueError, ["backend", "'composite'", repr(name)]


def enter(model, name):
    with reduced(model, name):
        pass


GROUPS = {"options": options, "inputs": inputs, "outputs": outputs, "maps": maps, "models": models}


@pytest.mark.parametrize("group", GROUPS)
def test_bad_input_is_named_with_what_was_expected(group):
    faults = []
    for number, (call, error, parts) in enumerate(GROUPS[group]()):
        try:
            call()
        except (ValueError, TypeError) as raised:
            missing = [part for part in parts if part not in str(raised)]
            if type(raised) is not error or missing:
                found = f"{type(raised).__name__}: {raised}"
                faults.append(f"case {number}: {found}; expected {error.__name__} with {parts}")
        else:
            faults.append(f"case {number}: no error; expected {error.__name__} with {parts}")
    assert number > 20 and not faults, "\n".join(faults[:20])


def test_number_of_cases():
    counts = {name: sum(1 for _ in group()) for name, group in GROUPS.items()}
    print(f"\n{sum(counts.values())} bad inputs to the core: {counts}")
    assert sum(counts.values()) >= 500


def test_a_refused_call_changes_nothing():
    model = nn.Sequential(nn.Linear(4, 4), FFCLinear(4, 4))
    before = copy.deepcopy(model.state_dict())
    layer, modules = model[1], list(model.modules())
    for call in (
        lambda: attach(model, "0", num_filters=-1),
        lambda: attach(model, "1"),
        lambda: enter(model, "out9"),
        lambda: layer(torch.zeros(2, 5)),
        lambda: setattr(layer, "test_reduce", "x"),
    ):
        with pytest.raises(ValueError):
            call()
    assert list(model.modules()) == modules and layer.test_reduce == "vote"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_bad_classifier_of_several_leaves_all_reductions_as_they_were():
    model = nn.Sequential(FFCLinear(4, 4), FFCLinear(4, 4, num_filters=1, test_reduce="out3"))
    with pytest.raises(ValueError, match="out7"):
        enter(model, "out7")
    assert [layer.test_reduce for layer in ffc_layers(model)] == ["vote", "out3"]


def test_numpy_integers_are_integers():
    layer = FFCLinear(np.int64(C), np.int32(K), num_filters=np.int64(2))
    assert layer(torch.zeros(2, C)).shape == (2, K) and layer.num_filters == 2


@pytest.mark.parametrize("training", [True, False])
def test_without_filters_the_errors_are_those_of_the_stock_layer(training):
    for cls, shape in LAYERS.items():
        ffc = cls(C, K, num_filters=0).train(training)
        stock = nn.Linear(C, K) if cls is FFCLinear else nn.Conv2d(C, K, 1)
        for bad in (None, torch.zeros(shape, dtype=torch.int64), torch.zeros(shape).double(), torch.zeros(C + 1, 2)):
            errors = []
            for layer in (ffc, stock):
                with pytest.raises((RuntimeError, TypeError)) as raised:
                    layer(bad)
                errors.append((raised.type, str(raised.value)))
            assert errors[0] == errors[1]


@pytest.mark.parametrize("backend", ["composite", "blocked"])
def test_weight_and_bias_of_different_dtypes_get_the_error_of_the_stock_layer(backend):
    layer = FFCLinear(C, K)
    layer.bias.data = layer.bias.data.double()
    before = get_backend()
    set_backend(backend)
    try:
        with pytest.raises(RuntimeError, match="dtype"):
            layer(torch.zeros(2, C))
    finally:
        set_backend(before)


def test_where_autocast_cannot_be_asked_the_stock_layer_refuses_mixed_dtypes(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with pytest.raises(RuntimeError, match="dtype"):
        FFCLinear(C, K)(torch.zeros(2, C, dtype=torch.float64))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_autocast_takes_every_dtype_that_it_can_convert(training, dtype):
    for cls, shape in LAYERS.items():
        with torch.autocast("cpu", torch.bfloat16):
            assert cls(C, K).train(training)(torch.randn(shape).to(dtype)).dtype == torch.bfloat16


def test_compiled_layer_takes_half_precision_under_autocast():
    layer, x = FFCLinear(C, K), torch.randn(2, C).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))


def test_a_parametrized_weight_is_checked_by_torch_and_not_computed_for_the_check():
    layer = FFCLinear(C, K)
    seen = []

    class Halve(nn.Module):
        def forward(self, weight):
            seen.append(weight)
            return weight / 2

    nn.utils.parametrize.register_parametrization(layer, "weight", Halve())
    seen.clear()
    layer._check_input(torch.zeros(2, C))
    assert not seen
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.zeros(2, C, dtype=torch.float64))
