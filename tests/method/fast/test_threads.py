"""Python threads with one torch thread each: same results, in order, whatever surrounds them."""

import os
import threading

import pytest
import torch

from ffc_dense import FFCConv2d, FFCLinear
from ffc_dense.method.fast import threads


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_parts_are_worked_on_beside_each_other_with_one_torch_thread_each():
    together = threading.Barrier(3, timeout=30)
    found = threads.run(lambda part: (together.wait() >= 0, part, torch.get_num_threads()), range(3))
    assert found == [(True, part, 1) for part in range(3)]
    assert torch.get_num_threads() == 3


def test_threads_that_start_later_have_torchs_own_number_of_threads():
    threads.run(str, range(8))
    seen = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [3]


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        threads.run(lambda part: 1 // part, [1, 2, 0, 3])


@pytest.mark.parametrize("inference", [True, False])
def test_no_gradient_flows_and_inference_mode_is_passed_on(inference):
    with torch.inference_mode(inference):
        target = torch.zeros(9)
        threads.run(lambda i: target[i].fill_(i), range(9))
        modes = threads.run(lambda i: (torch.is_grad_enabled(), torch.is_inference_mode_enabled()), range(3))
    assert target.tolist() == list(range(9)) and modes == [(False, inference)] * 3


@pytest.mark.parametrize("count", [1, 5, 12, 100])
def test_pieces_are_the_items_in_order(count):
    items = list(range(count))
    pieces = threads.pieces(items)
    assert [item for piece in pieces for item in piece] == items and all(pieces)
    assert len(pieces) == min(count, 3 * threads.PIECES_PER_THREAD)
    assert threads.pieces([]) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own():
    threads.run(str, range(8))
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if threads.run(str, range(8)) == [str(i) for i in range(8)] else 1)
        finally:
            os._exit(2)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        threading.Event().wait(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done and status == 0


@pytest.mark.parametrize(
    ("kind", "shape"), [(FFCLinear, (700, 1024)), (FFCConv2d, (2, 512, 33, 35))], ids=["rows", "map"]
)
def test_a_layers_gradients_do_not_depend_on_the_number_of_threads_but_for_rounding(kind, shape, scramble):
    layer, x = scramble(kind(shape[1], 19)), torch.randn(shape, requires_grad=True)

    def gradients():
        result = layer(x)
        return [result.detach(), *torch.autograd.grad(result.square().sum(), [x, *layer.parameters()])]

    several, again = gradients(), gradients()
    torch.set_num_threads(1)
    alone = gradients()
    assert all(torch.equal(a, b) for a, b in zip(several, again, strict=True))
    for a, b in zip(several, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))
