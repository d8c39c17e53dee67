"""The vote against a reference in NumPy, 100,000 random elections: ties, equal outputs, infinities and NaN.

The reference, ``numpy_reference``, goes by the paper's words and this package's rule for what the paper leaves open, in
float64, with loops over outputs and classes and a vector over the N elections.

Confidences are fp32 in the package. Half of the elections have logits whose probabilities are exactly 0, 1 or 1 / k:
there the winner must be the reference's. In the others confidences that differ by less than ROUNDING count as equal.
"""

import numpy as np
import pytest
import torch
from numpy_reference import ballots, election, first_winner

from ffc_dense import vote
from ffc_dense.method.voting import elect

ROUNDING = 1e-6
INF, NAN = float("inf"), float("nan")
CLASSES = (1, 2, 3, 6, 19)
OUTPUTS = (1, 2, 3, 4, 7)
EACH = 1_000  # elections for each number of classes and outputs and each kind of logits
DRAWS = {  # name -> (N, M, K) logits
    "exact": lambda rng, shape: rng.choice([0.0, 200.0, -200.0], size=shape),
    "not finite": lambda rng, shape: rng.choice([0.0, 200.0, INF, -INF, NAN], size=shape, p=[0.4, 0.3, 0.1, 0.1, 0.1]),
    "integers": lambda rng, shape: rng.integers(-1, 3, size=shape) + rng.choice([0.0, 1000.0], size=(shape[0], 1, 1)),
    "normal": lambda rng, shape: rng.normal(0, 2, size=shape).astype(np.float32).astype(np.float64),
}
EXACT = ("exact", "not finite")


def elections(kind: str):
    """Every number of outputs and classes: (N, M, K) logits."""
    rng = np.random.default_rng(list(DRAWS).index(kind))
    for num_outputs in OUTPUTS:
        for num_classes in CLASSES:
            logits = DRAWS[kind](rng, (EACH, num_outputs, num_classes))
            logits[: EACH // 20] = logits[: EACH // 20, :1]  # every output the same
            logits[EACH // 20 : EACH // 10] = logits[EACH // 20 : EACH // 10, :, :1]  # every class the same
            yield logits


def elected(logits: np.ndarray) -> np.ndarray:
    """The package's winners, by rows and by maps; the two must agree."""
    rows = torch.from_numpy(logits).float().movedim(1, 0)  # (M, N, K)
    result, index = vote(rows, -1)
    maps = rows.unflatten(1, (4, 10, -1)).movedim(-1, 2).contiguous()  # (M, 4, K, 10, N / 40)
    map_result, map_index = vote(maps, -3)
    assert same(result, rows[index, torch.arange(len(index))])
    assert same(map_result.movedim(1, -1).flatten(0, 2), rows[map_index.flatten(), torch.arange(len(index))])
    return np.stack([index.numpy(), map_index.flatten().numpy()])


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.nan_to_num(nan=12345.0), b.nan_to_num(nan=12345.0))


def test_vote_equals_the_reference_in_100_000_elections():
    total = tied = not_finite = rounded = 0
    for kind in DRAWS:
        for logits in elections(kind):
            electable, confidence, labels = election(logits)
            expected, rows = first_winner(electable, confidence), np.arange(len(logits))
            best = confidence[rows, expected]
            for index in elected(logits):
                if kind in EXACT and logits.shape[2] > 1:
                    np.testing.assert_array_equal(index, expected)
                else:
                    assert electable[rows, index].all()
                    assert (confidence[rows, index] >= best - ROUNDING).all()
                    rounded += (index != expected).sum()
            total += len(logits)
            tied += (np.where(electable, labels, -1).max(1) != np.where(electable, labels, 10**6).min(1)).sum()
            not_finite += (~np.isfinite(logits)).any((1, 2)).sum()
    print(f"\n{total} elections, {tied} with tied classes, {not_finite} not finite")
    print(f"{rounded} of the {2 * total} results, by rows and by maps, were decided by rounding")
    assert total == 100_000 and tied > 20_000 and not_finite > 15_000


@pytest.mark.parametrize("kind", DRAWS)
def test_order_of_the_elections_does_not_matter(kind):
    rng = np.random.default_rng(7)
    for logits in elections(kind):
        order = rng.permutation(len(logits))
        decided = slice(None) if kind in EXACT and logits.shape[2] > 1 else is_decided(logits)
        for index, permuted in zip(elected(logits), elected(logits[order]), strict=True):
            back = np.empty_like(permuted)
            back[order] = permuted
            np.testing.assert_array_equal(back[decided], index[decided])


def is_decided(logits: np.ndarray) -> np.ndarray:
    """(N,): whether the winner leads by more than rounding, or no electable output differs from it."""
    electable, confidence, _ = election(logits)
    winner = first_winner(electable, confidence)
    best = confidence[np.arange(len(logits)), winner]
    close = electable & (confidence > best[:, None] - ROUNDING)
    return close.sum(1) == 1


@pytest.mark.parametrize("kind", DRAWS)
def test_order_of_the_classes_does_not_matter(kind):
    # Of two equal maxima the first class gets the vote, so only ballots without them are the same in another order.
    rng = np.random.default_rng(8)
    seen = 0
    for logits in elections(kind):
        classes = logits.shape[2]
        order = rng.permutation(classes)
        labels, _ = ballots(logits)
        reordered, _ = ballots(logits[..., order])
        clear = (order[reordered] == labels).all(1) if classes > 1 else np.ones(len(logits), dtype=bool)
        clear &= is_decided(logits)
        seen += clear.sum()
        for index, permuted in zip(elected(logits), elected(logits[..., order]), strict=True):
            np.testing.assert_array_equal(permuted[clear], index[clear])
    assert seen > 3_000


@pytest.mark.parametrize("kind", DRAWS)
def test_order_of_the_outputs_changes_the_label_only_among_equal_confidences(kind):
    rng = np.random.default_rng(9)
    for logits in elections(kind):
        electable, confidence, labels = election(logits)
        rows = np.arange(len(logits))
        best = confidence[rows, first_winner(electable, confidence)]
        close = electable & (confidence >= best[:, None] - ROUNDING)
        order = rng.permutation(logits.shape[1])
        for index, permuted in zip(elected(logits), elected(logits[:, order]), strict=True):
            before, after = labels[rows, index], labels[rows, order[permuted]]
            changed = before != after
            assert close[rows, index].all() and close[rows, order[permuted]].all()
            one_label = np.where(close, labels, -1).max(1) == np.where(close, labels, 10**6).min(1)
            assert not (changed & one_label).any()


def test_election_that_knows_the_logits_to_be_finite_is_the_same():
    for kind in ("exact", "integers", "normal"):
        for logits in elections(kind):
            outputs = torch.from_numpy(logits).float().movedim(1, 0)
            for usual, quick in zip(elect(outputs, 2), elect(outputs, 2, finite=True), strict=True):
                assert torch.equal(usual, quick)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_ties_and_what_is_not_finite_are_the_same_in_every_dtype(dtype):
    for kind in EXACT:
        for logits in elections(kind):
            outputs = torch.from_numpy(logits).movedim(1, 0)
            if logits.shape[2] > 1:
                assert torch.equal(vote(outputs.to(dtype), -1)[1], vote(outputs.float(), -1)[1])


@pytest.mark.parametrize(
    ("outputs", "winner"),
    [
        ([[NAN, 9.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 2.0]], 2),  # outvoted: Out1 votes for class 0
        ([[0.0, NAN, NAN], [0.0, 9.0, 0.0], [1.0, 0.0, 0.0]], 1),  # it votes for its first NaN, class 1, and counts
        ([[NAN, 0.0, 0.0], [0.0, 0.1, 0.0]], 1),  # least confident of a tie
        ([[INF, 0.0, 0.0], [0.0, 0.1, 0.0]], 1),
        ([[-INF, -INF, -INF], [0.0, 0.1, 0.0]], 1),
        ([[-INF, 0.1, -INF], [5.0, 0.0, 0.0]], 0),  # -inf is a class that cannot be: the others share
        ([[NAN, 0.0, 0.0], [INF, 0.0, 0.0], [0.0, 1.0, 0.0]], 0),  # nobody else voted for the majority's class
        ([[NAN], [0.1], [-0.1]], 2),  # of a single class: NaN is not > 0
        ([[INF], [0.1], [-9.0]], 0),
        ([[NAN], [0.1]], 1),
        ([[NAN], [NAN], [1.0]], 0),
    ],
)
def test_what_is_not_finite_votes_as_documented(outputs, winner):
    assert vote(torch.tensor(outputs), -1)[1] == winner
