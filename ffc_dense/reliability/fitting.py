"""Whether a checkpoint fits a model, so that it can be evaluated. Frameworks only warn and score random weights."""

from collections.abc import Iterable, Mapping

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
