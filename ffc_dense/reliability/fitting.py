"""Whether a checkpoint fits a model, so that it can be evaluated. Frameworks only warn and score random weights."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from ..errors import UserError
from ..method.classifier import FFC_MODULES

SHOWN = 8  # faults in the message


def refuse_misfit(
    path: str,
    missing: Iterable[str],
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    unexpected: Iterable[str],
    train_from_it: str,
) -> None:
    """Refuse to evaluate a model that was not trained.

    A training can start from a stock checkpoint in an FFC model; an evaluation cannot, since the filters are missing.
    An FFC checkpoint has filters that the stock model lacks. Other extra keys of a file are harmless.

    Args:
        path: the checkpoint.
        missing: keys of the model that the file lacks; they can include those of ``shapes``.
        shapes: keys with another shape: (in the file, in the model).
        unexpected: keys of the file that the model lacks.
        train_from_it: the key or option that trains from the file, for the message.

    Raises:
        RuntimeError: the checkpoint does not fit; the message names the first faults.
    """
    faults = [f"{key} is missing" for key in missing if key not in shapes]
    faults += [f"{key} is {file} in the file, {model} in the model" for key, (file, model) in shapes.items()]
    faults += [f"{key} has no place in the model" for key in unexpected if set(key.split(".")) & set(FFC_MODULES)]
    if faults:
        shown = "; ".join(faults[:SHOWN]) + (f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")
        raise RuntimeError(
            f"{path} cannot be evaluated with this config: {shown}. Evaluate with the config that it was trained with, "
            f"or train from it first ({train_from_it})"
        )


def refuse_other_classes(
    path: str, trained: Sequence[str], tested: Sequence[str], key: str, remedy: str, *, renamed: bool = True
) -> None:
    """Refuse to score a checkpoint on a dataset in which a number stands for another class than in the training.

    Args:
        path: the checkpoint.
        trained, tested: names of the classes in the training and in the test set; without one of them nothing is known.
        key: what names the test set, for the message.
        remedy: what to do, for the message.
        renamed: let a class of the test set pass that has another name in its place, if no class of the training has
            that name.

    Raises:
        UserError: the message names the first class that differs.
    """
    pairs = enumerate(zip_longest(trained, tested)) if trained and tested else ()
    for place, (theirs, ours) in pairs:
        if theirs != ours and (ours in trained or not renamed):
            ours, theirs = ("no class" if name is None else repr(name) for name in (ours, theirs))
            raise UserError(
                f"{key}: class {place} is {ours}, in the training of {path} it was {theirs}, so that every score would "
                f"be of other classes; {remedy}"
            )
