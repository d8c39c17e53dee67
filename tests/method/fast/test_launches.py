"""What the layers launch and keep on an accelerator, counted without one; and the same path's numbers on the CPU."""

import copy

import pytest
import torch
from accelerator import Launches
from torch._subclasses.fake_tensor import FakeTensorMode

from ffc_dense import FFCConv2d, FFCLinear, get_backend, set_backend, vote
from ffc_dense.method.fast import devices

COMPOSITE = 70  # operators of forward and backward of the composite form
CASES = [(FFCLinear, (1024, 2048), 81), (FFCConv2d, (2, 512, 97, 97), 19)]
either_layer = pytest.mark.parametrize(("kind", "shape", "classes"), CASES, ids=["rows", "map"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@pytest.fixture(autouse=True)
def default_backend():
    before = get_backend()
    set_backend("auto")
    yield
    set_backend(before)


def on_cuda(kind, shape, classes, dtype):
    """Layer and feature without data; within ``FakeTensorMode``."""
    layer = kind(shape[1], classes, device="cuda", dtype=dtype)
    return layer, torch.empty(shape, device="cuda", dtype=dtype, requires_grad=True)


def backward(y):
    """As autograd would; its engine asks for the device itself."""
    with torch.no_grad():
        return y.grad_fn.apply(torch.ones_like(y))


@dtypes
@either_layer
def test_training_on_cuda_keeps_the_input_and_launches_few_operators(kind, shape, classes, dtype):
    with FakeTensorMode():
        layer, x = on_cuda(kind, shape, classes, dtype)
        with Launches() as seen:
            y = layer(x)
            kept = x.untyped_storage().nbytes() + seen.live
            gradients = backward(y)
        plain = x.untyped_storage().nbytes() + y.untyped_storage().nbytes()
    assert kept <= 1.15 * plain
    assert seen.operators <= 2 * COMPOSITE
    found = [gradient for gradient in gradients if gradient is not None]
    assert len(found) == 1 + len(list(layer.parameters())) and found[0].shape == x.shape


@dtypes
@either_layer
@pytest.mark.parametrize("test_reduce", ["vote", "mean", "out4"])
def test_inference_on_cuda_launches_few_kernels(kind, shape, classes, dtype, test_reduce):
    with FakeTensorMode(), torch.no_grad():
        layer, x = on_cuda(kind, shape, classes, dtype)
        layer.eval().test_reduce = test_reduce
        with Launches() as seen:
            assert layer(x).shape[layer._feature_dim] == classes
    assert 0 < seen.kernels <= 60


def test_data_from_the_host_would_be_seen():
    with FakeTensorMode(), Launches(), pytest.raises(RuntimeError, match="waits"):
        torch.tensor([1.0, 2.0]).to("cuda")


def test_a_huge_map_is_worked_on_in_few_blocks_that_bound_the_memory():
    with FakeTensorMode():
        layer, x = on_cuda(FFCConv2d, (16, 512, 128, 128), 19, torch.float32)
        with Launches() as seen:
            backward(layer(x))
    assert seen.operators <= 400
    assert seen.peak <= x.untyped_storage().nbytes() + 5 * devices.CHUNK_BYTES


def test_a_wait_for_the_device_would_be_seen():
    with FakeTensorMode(), Launches(), pytest.raises(RuntimeError, match="_local_scalar_dense"):
        bool(torch.ones(3, device="cuda").amax() < 2)


# --- the numbers of that path, with CPU tensors -----------------------------------------------------------------------


@pytest.fixture
def as_on_cuda(monkeypatch):
    monkeypatch.setattr(devices, "is_cpu", lambda x: False)
    monkeypatch.setattr(devices, "CHUNK_BYTES", 4096)
    set_backend("blocked")


@pytest.mark.usefixtures("as_on_cuda")
@pytest.mark.parametrize("size", [1.0, 1e18])
@pytest.mark.parametrize(("kind", "shape"), [(FFCLinear, (23, 24)), (FFCConv2d, (3, 24, 5, 7))])
def test_results_and_gradients_are_literal(literal, scramble, kind, shape, size):
    layer = scramble(kind(24, 5))
    x = torch.randn(shape)
    x[1] *= size
    exact, exact_x = copy.deepcopy(layer).double(), x.double().requires_grad_()
    x.requires_grad_()
    found, expected = layer(x), literal.mean(exact, exact_x)
    direction = torch.randn(found.shape)
    found.backward(direction)
    expected.backward(direction.double())
    pairs = [(found, expected), (x.grad, exact_x.grad)]
    pairs += [(ours.grad, theirs.grad) for ours, theirs in zip(layer.parameters(), exact.parameters(), strict=True)]
    for ours, theirs in pairs:
        error = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert error < 1e-4


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("shape", "class_dim"), [((7, 300, 5), -1), ((4, 2, 6, 8, 9), 2), ((40, 30, 3), 2), ((3, 9, 1), -1)]
)
def test_the_vote_elects_the_same_on_every_device(monkeypatch, shape, class_dim, bad):
    outputs = torch.randn(shape).round(decimals=1)  # with ties
    outputs[torch.rand(shape) < 0.03] = bad
    expected = vote(outputs, class_dim)[1]
    monkeypatch.setattr(devices, "is_cpu", lambda x: False)
    logits, found = vote(outputs, class_dim)
    assert (found == expected).double().mean() > 0.99  # but for confidences that differ by rounding
    winner = found.unsqueeze(class_dim % len(shape) - 1).unsqueeze(0)
    chosen = outputs.gather(0, winner.expand(1, *shape[1:]))[0]
    torch.testing.assert_close(logits, chosen, rtol=0, atol=0, equal_nan=True)
