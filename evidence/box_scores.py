"""Rules that turn the outputs of a box into its class scores. The paper defines the voted class, not these scores.

Shape shorthand: M outputs, R boxes, K + 1 classes, the background last. Every function maps logits (M, R, K + 1) to
scores (R, K + 1) in [0, 1]; detectron2's NMS takes those of the foreground classes.
"""

import torch.nn.functional as F
from torch import Tensor

from ffc_dense.method.voting import count_and_elect, vote


def winner(outputs: Tensor) -> Tensor:
    """The softmax of the winning output: ``test_reduce='vote'``."""
    return vote(outputs, -1)[0].softmax(-1)


def mean_logits(outputs: Tensor) -> Tensor:
    """The softmax of the mean of the logits: ``test_reduce='mean'``."""
    return outputs.mean(0).softmax(-1)


def mean_probabilities(outputs: Tensor) -> Tensor:
    return outputs.softmax(-1).mean(0)


def agreeing(outputs: Tensor) -> Tensor:
    """The mean softmax of the outputs that voted for the predicted class."""
    predicted = count_and_elect(outputs, 2)[1]
    agree = (outputs.argmax(-1) == predicted).to(outputs.dtype).unsqueeze(-1)
    return (outputs.softmax(-1) * agree).sum(0) / agree.sum(0)


def share_of_votes(outputs: Tensor) -> Tensor:
    """The winner's softmax times the share of the outputs that voted for its class."""
    votes = count_and_elect(outputs, 2)[3]
    return winner(outputs) * (votes / len(outputs)).unsqueeze(-1)


def class_share(outputs: Tensor) -> Tensor:
    """For each class: the share of the outputs that voted for it, times the mean of their probabilities for it."""
    probabilities = outputs.softmax(-1)
    votes = F.one_hot(outputs.argmax(-1), outputs.shape[-1])
    return (probabilities * votes).mean(0)


def class_maximum(outputs: Tensor) -> Tensor:
    """For each class: the highest probability of any output."""
    return outputs.softmax(-1).amax(0)


def class_smoothed_share(outputs: Tensor) -> Tensor:
    """For each class: its mean probability times (1 + votes) / (1 + M), so that a class without votes keeps a score."""
    votes = F.one_hot(outputs.argmax(-1), outputs.shape[-1]).sum(0)
    return mean_probabilities(outputs) * (1 + votes) / (1 + len(outputs))


def single(number: int):
    """The softmax of output ``number``, 1 for Out1."""

    def rule(outputs: Tensor) -> Tensor:
        return outputs[number - 1].softmax(-1)

    return rule


RULES = {
    "vote": winner,
    "mean": mean_logits,
    "mean of probabilities": mean_probabilities,
    "mean of the agreeing": agreeing,
    "vote share x winner": share_of_votes,
    "per class: share x confidence": class_share,
    "per class: maximum": class_maximum,
    "per class: smoothed share x mean": class_smoothed_share,
}


def rules(num_outputs: int, every: bool) -> dict:
    """{name: function}. A single output has one rule; ``every``: all of RULES instead of only 'vote' and 'mean'."""
    if num_outputs == 1:
        return {"out1": single(1)}
    names = RULES if every else ("vote", "mean")
    singles = {f"out{i + 1}": single(i + 1) for i in range(num_outputs)}
    return {**{name: RULES[name] for name in names}, **singles}
