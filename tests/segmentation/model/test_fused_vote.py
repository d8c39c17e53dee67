"""The vote's Triton kernel, in Triton's interpreter, against the plain vote."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from numpy_reference import samples, winners
from repository import ROOT

pytest.importorskip("mmseg")
pytest.importorskip("triton")

from ffc_dense import set_backend, vote
from ffc_dense.segmentation.model.upsampled_vote import comparable, vote_upsampled

WORKER = ROOT / "tests" / "workers" / "fused_vote.py"
SHAPES = [  # M, N, K, (h, w), (H, W)
    (7, 1, 5, (5, 9), (17, 70)),
    (4, 2, 3, (6, 4), (11, 9)),
    (1, 1, 2, (3, 3), (3, 3)),
    (7, 1, 4, (9, 8), (4, 5)),
    (3, 1, 19, (1, 1), (2, 65)),
]


def fused(cases, folder):
    torch.save(cases, folder / "cases.pt")
    command = [sys.executable, WORKER, folder / "cases.pt", folder / "results.pt"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}, check=True)
    return torch.load(folder / "results.pt", weights_only=True)


def truncated_to_bfloat16(maps):
    """As Triton's interpreter converts fp32, where a GPU rounds."""
    return (maps.view(torch.int32) & -(1 << 16)).view(torch.float32)


@pytest.mark.ci
def test_the_kernel_votes_as_the_plain_vote(tmp_path):
    random = [
        (torch.randn(m, n, k, *source) * 3, target, align_corners)
        for m, n, k, source, target in SHAPES
        for align_corners in (True, False)
    ]
    half = [(random[0][0].to(dtype), (17, 70), False) for dtype in (torch.bfloat16, torch.float16)]
    tied = torch.zeros(7, 1, 4, 3, 3)
    tied[2:] = torch.tensor([0.0, 2.0, 2.0, 0.0])[:, None, None]
    equal = torch.randn(1, 1, 4, 3, 3).expand(7, -1, -1, -1, -1)
    integers = torch.randint(3, (7, 1, 3, 6, 7)).float()
    huge = torch.randn(3, 1, 4, 5, 6) * 1e30
    special = [(tied, (8, 9), False), (equal, (8, 9), True), (integers, (6, 7), False), (huge, (5, 6), True)]
    counted = [(*case, True) for case in (random[0], random[2], random[6])]
    *results, first, second, third = fused([*random, *half, *special, *counted], tmp_path)
    for (outputs, size, align_corners, _), (found, agreement) in zip(counted, (first, second, third), strict=True):
        expected = torch.empty_like(agreement)
        torch.testing.assert_close(found, vote_upsampled(outputs, size, align_corners, expected), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(agreement, expected)
        assert len(expected.unique()) > 2

    for (outputs, size, align_corners), found in zip(random, results, strict=False):
        expected = vote_upsampled(outputs, size, align_corners)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(found.argmax(1), expected.argmax(1))
    for (outputs, size, align_corners), found in zip(half, results[len(random) :], strict=False):
        maps = F.interpolate(outputs[:, 0].float(), size, mode="bilinear", align_corners=align_corners)
        rounded = maps.half().float() if outputs.dtype == torch.float16 else truncated_to_bfloat16(maps)
        expected = comparable(vote(rounded[:, None], 2)[0])
        differ = (found - expected).abs().amax(1) > 1e-4
        assert differ.float().mean() < 0.01  # a sum in another order rounds to another half-precision number
    found_tied, found_equal, found_integers, found_huge = results[-4:]
    assert (found_tied.argmax(1) == 1).all()
    torch.testing.assert_close(found_equal, vote_upsampled(equal, (8, 9), True))
    passed_on = integers.log_softmax(2)
    is_winner = (passed_on - found_integers).abs().amax(2).flatten(1) < 1e-5
    for i, allowed in enumerate(winners(samples(integers, 2), rounding=1e-5)):
        assert is_winner[allowed, i].any()
    assert found_huge.isfinite().all()
    assert torch.equal(found_huge.argmax(1), vote_upsampled(huge, (5, 6), True).argmax(1))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.ci
def test_the_kernel_votes_on_infinite_logits_as_the_plain_vote(tmp_path):
    cases = []
    for bad in (float("nan"), float("inf"), -float("inf")):
        outputs = torch.randn(7, 1, 5, 6, 7)
        outputs[torch.rand_like(outputs) < 0.05] = bad
        outputs[:, :, :, 2, 3] = bad
        cases.append((outputs, (9, 17), False))
    for (outputs, size, align_corners), found in zip(cases, fused(cases, tmp_path), strict=True):
        expected = vote_upsampled(outputs, size, align_corners)
        assert not expected.isfinite().all()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_the_backend_does_not_change_the_vote_on_cpu(monkeypatch):
    outputs = torch.randn(3, 1, 4, 5, 6)
    plain = vote_upsampled(outputs, (9, 9), True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # without it the backend asks for a GPU
    set_backend("triton")
    try:
        assert torch.equal(vote_upsampled(outputs, (9, 9), True), plain)
    finally:
        set_backend("auto")


@pytest.mark.parametrize(
    ("outputs", "error"), [(torch.zeros(3, 1, 4, 5, 6).double(), TypeError), (torch.zeros(3, 1, 1, 5, 6), ValueError)]
)
def test_the_kernel_refuses_what_it_cannot_do(outputs, error):
    from ffc_dense.segmentation.model.upsampled_vote_triton import vote_upsampled_fused

    with pytest.raises(error):
        vote_upsampled_fused(outputs, (9, 9), False)
