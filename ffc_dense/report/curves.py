"""The training curves of a group: its runs as lines, a chart per logged number."""

import re

from ..runs.logs import Points, curves
from ..runs.run import CONTROL, STOCK
from .chart import Series, chart, styles
from .subjects import Group, Subject
from .tables import Table, number, text

LOSS = re.compile(r"(^|[./])(total_)?loss[^/.]*$")
OUTPUT = re.compile(r"^(?:.*/)?ffc/(\w+)/(accuracy|active_units)$")  # FFC_SCALARS_PERIOD, FFCScalarsHook
OF_OUTPUTS = {"accuracy": "accuracy on training batches", "active_units": "active units"}
LEAST = 10  # percent points that an axis of scores spans


def training_curves(group: Group) -> dict:
    """Charts of scores, losses, learning rate and accuracies, and of FFC's outputs where they were logged.

    What has a single point in every run is a row of the table ``once``, unless the table of scores has it.
    """
    runs = [(subject, _with_final_score(subject, curves(subject.log))) for subject in group.subjects]
    style = styles([subject.run.variant for subject, _ in runs])
    metrics = list(map(group.framework.logged, group.framework.metrics))
    keys = list(dict.fromkeys(key for _, lines in runs for key in lines))
    losses = sorted(filter(LOSS.search, keys), key=lambda key: (key not in ("loss", "total_loss"), key))
    accuracies = sorted(key for key in keys if key.endswith(("cls_accuracy", "acc_seg")))
    shown = [*(key for key in metrics if key in keys), *losses, *(["lr"] if "lr" in keys else []), *accuracies]
    charts, once = [], []
    for key in [*shown, *filter(OUTPUT.match, keys)]:
        title = {"lr": "learning rate"}.get(key, key)
        series = [Series(_label(subject, group), lines[key], style[subject.run.variant])
                  for subject, lines in runs if key in lines]  # fmt: skip
        if not any(len(each.points) > 1 for each in series):
            if key not in metrics or not all(subject.run.scores for subject, lines in runs if key in lines):
                values = (lines[key][0][1] if key in lines else None for _, lines in runs)
                once.append([text(title), *(number(value, 4) for value in values)])
        elif key in shown:
            charts.append(chart(title, series, LEAST if key in metrics else 0))
    head = [("logged value", ""), *((_label(subject, group), "") for subject, _ in runs)]
    return {
        "legend": list(dict.fromkeys((_named(subject.run.variant), style[subject.run.variant]) for subject, _ in runs)),
        "charts": charts,
        "once": Table("Values that were logged once", head, once) if once else None,
        "of_outputs": [each for subject, lines in runs for each in _of_outputs(subject, lines)],
    }


def _label(subject: Subject, group: Group) -> str:
    """The variant; with several runs of it, the run's name too."""
    variants = [other.run.variant for other in group.subjects]
    variant = subject.run.variant
    return _named(variant) if variants.count(variant) == 1 else f"{_named(variant)} ({subject.name})"


def _named(variant: str) -> str:
    return f"one LayerNorm ({variant})" if variant == CONTROL else variant


def _with_final_score(subject: Subject, lines: dict[str, Points]) -> dict[str, Points]:
    """An evaluation after training gives the last point, where the training itself did not evaluate then."""
    run = subject.run
    scores = run.scores.get("vote") or run.scores.get(STOCK) or {}
    for metric in run.framework.metrics:
        points = lines.get(run.framework.logged(metric), [])
        if metric in scores and run.iteration and not (points and points[-1][0] >= run.iteration):
            lines[run.framework.logged(metric)] = [*points, (run.iteration, scores[metric])]
    return lines


def _of_outputs(subject: Subject, lines: dict[str, Points]) -> list[dict]:
    """What the outputs did on training batches, if that was logged more than once."""
    found = []
    for kind, title in OF_OUTPUTS.items():
        matches = (OUTPUT.match(key) for key in lines)
        of_kind = {match[1]: lines[match[0]] for match in matches if match and match[2] == kind}
        names = sorted(of_kind, key=_place)
        style = styles(names)
        series = [Series(name, of_kind[name], style[name]) for name in names]
        if any(len(each.points) > 1 for each in series):
            found.append(chart(f"{subject.name}: {title}", series, legend=True))
    return found


def _place(output: str) -> tuple[bool, int, str]:
    """Out1, Out2, ..., Out10, and mean and vote at the end."""
    return output in ("mean", "vote"), len(output), output
