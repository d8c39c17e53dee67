"""The two references, torch and NumPy, agree: a fault of one does not pass for the truth."""

import numpy_reference
import pytest
import torch

from ffc_dense import FFCConv2d, FFCLinear
from ffc_dense.method import literal


@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "shape"), [(FFCLinear, (6, 9)), (FFCLinear, (9,)), (FFCConv2d, (2, 9, 3, 4))])
def test_outputs_and_vote_of_the_literal_form_are_those_of_numpy(scramble, kind, shape, bias, interpolate):
    layer = scramble(kind(9, 5, bias=bias, interpolate=interpolate, eps=1e-3, num_filters=2)).double()
    dim = -3 if kind is FFCConv2d else -1
    x = torch.randn(shape, dtype=torch.float64)
    found = torch.stack(literal.outputs(layer, x))
    expected = torch.from_numpy(numpy_reference.outputs(layer, x.movedim(dim, -1))).movedim(-1, dim)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(literal.mean(layer, x), expected.mean(0))
    if x.dim() > 1:
        voted = numpy_reference.samples(literal.literal_vote(found)[None], dim)[:, 0]
        logits = numpy_reference.samples(expected, dim)
        winner = [allowed[0] for allowed in numpy_reference.winners(logits)]
        torch.testing.assert_close(torch.from_numpy(voted), torch.from_numpy(logits[range(len(logits)), winner]))
