"""The rule for a loss of NaN or infinity, and that both frameworks' ends apply it in the same words."""

import math

import pytest

from ffc_dense.errors import UserError
from ffc_dense.reliability.non_finite import ACTIONS, NonFiniteLoss, NonFiniteRule

BAD = [{"a": 1.0, "b": 2.0}, {"a": math.nan, "b": math.inf, "c": 0.0}]


def test_stop_raises_and_names_iteration_terms_ranks_and_key():
    rule = NonFiniteRule("stop", action_key="THE.KEY")
    with pytest.raises(NonFiniteLoss) as caught:
        rule.not_finite(7, BAD, ["images: x.png", "images: y.png"], state="2 weights are lost.", checkpoint="last.pth")
    assert str(caught.value) == (
        "iteration 7: a is nan, b is inf on rank 1 (images: y.png). The weights were not updated. 2 weights are lost. "
        "Go on from last.pth with a smaller learning rate or clipped gradients, or set THE.KEY to skip"
    )
    assert caught.value.exit_code == 3


def test_without_a_checkpoint_the_message_names_none():
    with pytest.raises(NonFiniteLoss, match=r"There is no checkpoint: start again with a smaller"):
        NonFiniteRule("stop").not_finite(1, BAD, checkpoint=None)


@pytest.mark.parametrize("limit", [1, 3])
def test_skip_goes_on_until_one_more_than_the_limit_in_a_row(limit):
    rule = NonFiniteRule("skip", limit, limit_key="THE.LIMIT")
    for _ in range(limit):
        rule.not_finite(1, BAD)
    rule.finite()
    for number in range(1, limit + 1):
        said = rule.not_finite(2, BAD)
        assert said.endswith(f"skipped, {number} in a row, {limit + number} in all")
    with pytest.raises(NonFiniteLoss, match=rf"number {limit + 1} in a row, and THE\.LIMIT is {limit}\. Go on from"):
        rule.not_finite(3, BAD)


@pytest.mark.parametrize("options", [{"action": "abort"}, {"max_consecutive": 0}, {"max_consecutive": True},
                                     {"max_consecutive": 1.5}])  # fmt: skip
def test_a_wrong_option_is_refused_by_its_key(options):
    with pytest.raises(UserError, match=rf"^THE\.KEY: expected .*, got {next(iter(options.values()))!r}$"):
        NonFiniteRule(**options, action_key="THE.KEY", limit_key="THE.KEY")


def test_both_frameworks_take_the_same_actions_with_the_same_defaults():
    detection = pytest.importorskip("ffc_dense.detection.training.finite_loss")
    openmmlab = pytest.importorskip("ffc_dense.openmmlab")
    from torch import nn, optim

    model = nn.Linear(1, 1)
    for action in ACTIONS:
        trainer = detection.FiniteLossTrainer(model, [], optim.SGD(model.parameters(), 0.1), action=action)
        rules = trainer.rule, openmmlab.NonFiniteLossHook(action=action).rule
        assert {rule.action for rule in rules} == {action} and {rule.max_consecutive for rule in rules} == {10}
    assert detection.NonFiniteLoss is openmmlab.NonFiniteLoss is NonFiniteLoss
