"""The scalars of a training step, from the literal outputs and the literal vote; independent of ``ffc_dense``."""

import torch


@torch.no_grad()
def literal_scalars(literal, layer, x, labels, known):
    """Accuracy of every output, of their mean and of the vote, and active units of every stage, by name.

    Args:
        literal: the fixture of that name.
        x: the feature, (P, C) or (N, C, h, w).
        labels, known: (P,) or (N, h, w): true classes, and where there is one.
    """
    dim = -1 if x.dim() == 2 else -3
    outputs = literal.outputs(layer, x)
    decided = {f"out{i + 1}": logits.argmax(dim) for i, logits in enumerate(outputs)}
    decided["mean"] = literal.mean(layer, x).argmax(dim)
    ballots = literal.samples(torch.stack(outputs), 2)
    chosen = [ballot[literal.winners(ballot)[0]] for ballot in ballots]
    decided["vote"] = torch.tensor([scores.index(max(scores)) for scores in chosen]).reshape(labels.shape)
    found = {f"{name}/accuracy": float((each == labels)[known].double().mean()) for name, each in decided.items()}
    for i, stage in enumerate(literal.stages(x, list(layer.filters), dim)):
        found[f"stage{i}/active_units"] = float((stage > 0).sum(dim).double().mean())
    return found
