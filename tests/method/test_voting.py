"""The vote: majority, ties by confidence, logits of the winner."""

import pytest
import torch
from numpy_reference import samples, winners

from ffc_dense import vote


def random_choice(values, shape, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype)[torch.randint(len(values), shape)]


@pytest.mark.parametrize("num_classes", [1, 2, 3, 6])
@pytest.mark.parametrize("num_outputs", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(("low", "high"), [(0, 200), (-200, 0), (-200, 200), (1e4, 2e4), (0, 1e8), (-3e38, 3e38)])
def test_vote_equals_brute_force_when_confidences_tie_exactly(num_outputs, num_classes, low, high):
    # Every probability is 0 or 1 / (number of maxima), so equal confidences are equal to the bit.
    outputs = random_choice([low, high], (num_outputs, 400, num_classes))
    _, index = vote(outputs, -1)
    assert index.tolist() == [allowed[0] for allowed in winners(samples(outputs, -1))]


@pytest.mark.parametrize("offset", [0, -50, 1e4, 2.0**20])
@pytest.mark.parametrize(("num_outputs", "num_classes"), [(2, 2), (3, 3), (4, 5), (7, 3), (7, 21)])
def test_vote_equals_brute_force_on_small_integers(num_outputs, num_classes, offset):
    outputs = random_choice([0.0, 1.0, 2.0, 3.0], (num_outputs, 500, num_classes)) + offset
    _, index = vote(outputs, -1)
    allowed = winners(samples(outputs, -1), rounding=1e-5)
    assert all(i in ok for i, ok in zip(index.tolist(), allowed, strict=True))


@pytest.mark.parametrize("offset", [-1.0, 0.0, 0.5])
def test_vote_equals_brute_force_on_single_logits(offset):
    outputs = random_choice([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0], (5, 2000, 1)) + offset
    _, index = vote(outputs, -1)
    assert index.tolist() == [allowed[0] for allowed in winners(samples(outputs, -1))]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_vote_equals_brute_force_on_random_logits(dtype):
    outputs = torch.randn(7, 1000, 4).mul(2).to(dtype)
    logits, index = vote(outputs, -1)
    allowed = winners(samples(outputs, -1), rounding=1e-6)
    assert all(i in ok for i, ok in zip(index.tolist(), allowed, strict=True))
    assert logits.dtype == dtype


@pytest.mark.parametrize("class_dim", [-3, 2])
def test_vote_on_maps_is_the_vote_of_every_pixel(class_dim):
    maps = random_choice([0.0, 1.0, 2.0], (7, 2, 4, 6, 5))
    logits, index = vote(maps, class_dim)
    pixels = maps.movedim(2, -1).reshape(7, -1, 4)
    pixel_logits, pixel_index = vote(pixels, -1)
    assert torch.equal(logits, pixel_logits.reshape(2, 6, 5, 4).movedim(-1, 1))
    assert torch.equal(index, pixel_index.reshape(2, 6, 5))


def test_majority_beats_confidence():
    outputs = torch.tensor([[9.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    logits, index = vote(outputs, -1)
    assert index == 2 and logits.tolist() == [0.0, 2.0]


def test_most_confident_voter_of_the_majority_class_wins():
    outputs = torch.tensor([[0.0, 1.0], [0.0, 3.0], [5.0, 0.0], [0.0, 2.0]])
    assert vote(outputs, -1)[1] == 1


def test_tie_goes_to_the_most_confident_voter_of_a_tied_class():
    tie = [[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 4.0, 0.0]]
    assert vote(torch.tensor(tie), -1)[1] == 3


def test_tie_ignores_confident_outputs_of_classes_that_are_not_tied():
    tie = [[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 9.0]]
    assert vote(torch.tensor(tie), -1)[1] == 3


def test_confidence_is_a_probability_and_not_a_logit():
    outputs = torch.tensor([[9.0, 8.0], [0.0, 3.0]])
    assert vote(outputs, -1)[1] == 1


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5, 2.0**22])
def test_offset_of_an_output_changes_no_confidence(offset):
    outputs = torch.tensor([[2.0, 2.0], [2.0, 1.5], [2.0, 1.0], [2.0, 1.5]])
    offsets = torch.tensor([[0.0], [0.0], [offset], [0.0]])
    assert vote(outputs + offsets, -1)[1] == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_an_output_that_is_not_finite_loses_every_tie(bad, num_classes):
    good = torch.randn(1, 20, num_classes)
    outputs = torch.cat([torch.full_like(good, bad), good])
    if num_classes == 1 and bad in (float("inf"), -float("inf")):
        outputs[0] = float("nan")  # the probability of an infinite single logit is 1 or 0: confident
    assert vote(outputs, -1)[1].tolist() == [1] * 20
    assert vote(outputs.flip(0), -1)[1].tolist() == [0] * 20


def test_equal_outputs_elect_the_first():
    logits, index = vote(torch.randn(1, 6, 3).expand(7, -1, -1), -1)
    assert index.tolist() == [0] * 6 and logits.shape == (6, 3)


def test_equal_classes_vote_for_the_first_class():
    # Out1 votes for class 0, of two equal ones; with Out3 that is the majority against Out2.
    outputs = torch.tensor([[1.0, 1.0], [0.0, 9.0], [2.0, 0.0]])
    assert vote(outputs, -1)[1] == 2


def test_zero_logit_of_a_single_class_votes_negative():
    outputs = torch.tensor([[0.0], [3.0], [-1.0]])
    assert vote(outputs, -1)[1] == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_confidence_is_taken_in_fp32(dtype):
    outputs = torch.tensor([[10.0, 0.0], [10.0, -1.0]], dtype=dtype)
    assert outputs.softmax(-1).amax(-1).unique().numel() == 1, "in half precision the two are equally confident"
    assert vote(outputs, -1)[1] == 1


@pytest.mark.parametrize(
    ("shape", "class_dim"), [((3, 8), -1), ((3, 5, 8), -1), ((3, 5, 8), 2), ((3, 5, 8, 4, 6), -3), ((1, 5, 1), -1)]
)
def test_result_is_the_winning_output_and_index_lacks_the_class_dimension(shape, class_dim):
    outputs = torch.randn(shape)
    logits, index = vote(outputs, class_dim)
    assert index.dtype == torch.int64
    assert list(index.shape) == [size for d, size in enumerate(shape) if d not in (0, class_dim % len(shape))]
    chosen = torch.zeros_like(logits)
    for m in range(shape[0]):
        chosen = torch.where((index == m).unsqueeze(class_dim % len(shape) - 1), outputs[m], chosen)
    assert torch.equal(logits, chosen)


@pytest.mark.parametrize(("shape", "class_dim"), [((3, 0, 4), -1), ((3, 0, 4, 5, 5), -3), ((3, 2, 4, 0, 5), 2)])
def test_no_samples_give_no_winners(shape, class_dim):
    logits, index = vote(torch.zeros(shape), class_dim)
    assert logits.shape == shape[1:] and index.numel() == 0


@pytest.mark.parametrize("num_classes", [1, 3])
def test_gradient_flows_to_the_winner_alone(num_classes):
    outputs = torch.randn(7, 5, num_classes, requires_grad=True)
    logits, index = vote(outputs, -1)
    logits.sum().backward()
    won = torch.arange(7)[:, None] == index
    assert torch.equal(outputs.grad, won[..., None].expand(7, 5, num_classes).float())


def test_vote_leaves_its_input_alone():
    outputs = torch.randn(7, 5, 3)
    before = outputs.clone()
    vote(outputs, -1)
    assert torch.equal(outputs, before)


@pytest.mark.parametrize(
    ("shape", "class_dim"), [((3, 4, 5), 0), ((3, 4, 5), -3), ((3, 4, 5), 3), ((3, 4, 5), -4), ((3,), 0), ((3,), -1)]
)
def test_class_dim_must_be_a_dimension_behind_the_first(shape, class_dim):
    with pytest.raises(ValueError, match="class_dim"):
        vote(torch.zeros(shape), class_dim)


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 4, 0)])
def test_vote_needs_outputs_and_classes(shape):
    with pytest.raises(ValueError, match="at least one"):
        vote(torch.zeros(shape), -1)
