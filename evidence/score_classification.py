"""Top-1 of a classifier's dumped logits under every rule. Shape shorthand: M outputs, N images, K classes."""

from collections.abc import Callable

from torch import Tensor

from .box_scores import RULES, rules, single
from .outputs import outputs_of
from .plan import Run
from .selectors import CHOSEN, HELD_OUT

# They predict the voted class for every image: it is the most likely class of each output that voted for it.
AS_THE_VOTE = ("mean of the agreeing", "vote share x winner")


def top1(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """{'Top-1': percent} of scores (N, K)."""
    return {"Top-1": 100 * (scores.argmax(-1) == labels).double().mean().item()}


def score(parts: dict[str, list[dict]], run: Run) -> dict[str, dict[str, float]]:
    """{rule: {'Top-1'}} on the test images, and for the head's own rule on the held-out images."""
    (test,), (heldout,) = parts["test"], parts["heldout"]
    outputs = outputs_of(test["logits"], run)
    asked = {name: rule for name, rule in rules(len(outputs), run.is_main).items() if name not in AS_THE_VOTE}
    found = {name: top1(rule(outputs), test["labels"]) for name, rule in asked.items()}
    own = RULES["vote"] if len(outputs) > 1 else single(1)
    return {**found, HELD_OUT: top1(own(outputs_of(heldout["logits"], run)), heldout["labels"])}


def score_selected(run: Run, parts: dict[str, list[dict]], answer: Callable) -> dict:
    """The scores of the selectors.

    Args:
        answer: the labels of the images -> the selectors' log-probabilities.
    """
    (test,), (heldout,) = parts["test"], parts["heldout"]
    answers = answer({name: [entry["labels"] for entry in part] for name, part in parts.items()})
    found = {name: top1(scores, test["labels"]) for name, (scores,) in answers.items()}
    if len(test["logits"]) > 1:
        known = outputs_of(heldout["logits"], run)
        singles = [top1(output, heldout["labels"])["Top-1"] for output in known]
        found[CHOSEN] = top1(outputs_of(test["logits"], run)[singles.index(max(singles))], test["labels"])
    return found
