"""The training curves of a group: its runs as lines, a chart per logged number."""

import re

from ..runs.logs import Points, curves
from ..runs.run import STOCK
from .chart import STYLES, Series, chart, legend
from .markup import Markup, tag
from .subjects import Group, Subject

LOSS = re.compile(r"(^|[./])(total_)?loss[^/.]*$")
OUTPUT = re.compile(r"^(?:.*/)?ffc/(\w+)/(accuracy|active_units)$")  # FFC_SCALARS_PERIOD, FFCScalarsHook


def training_curves(group: Group) -> Markup:
    """Scores, losses, learning rate and accuracies over iterations, and what FFC's outputs did."""
    found = [(subject, _with_final_score(subject, curves(subject.log))) for subject in group.subjects]
    styles = [(_label(subject, group), place % STYLES) for place, (subject, _) in enumerate(found)]
    metrics = list(map(group.framework.logged, group.framework.metrics))
    keys = list(dict.fromkeys(key for _, lines in found for key in lines))
    losses = sorted(filter(LOSS.search, keys), key=lambda key: (key not in ("loss", "total_loss"), key))
    accuracies = sorted(key for key in keys if key.endswith(("cls_accuracy", "acc_seg")))
    charts = []
    for key in [*(key for key in metrics if key in keys), *losses, *(["lr"] if "lr" in keys else []), *accuracies]:
        series = [Series(label, lines[key], style)
                  for (_, lines), (label, style) in zip(found, styles, strict=True) if key in lines]  # fmt: skip
        charts.append(chart({"lr": "learning rate"}.get(key, key), series))
    if not charts:
        return tag("p", "The logs hold no losses.")
    parts = [legend(styles), tag("div", charts, class_="charts")]
    for subject, lines in found:
        parts += _of_outputs(subject, lines)
    return tag("div", parts)


def _label(subject: Subject, group: Group) -> str:
    variants = [other.run.variant for other in group.subjects]
    return subject.run.variant if variants.count(subject.run.variant) == 1 else f"{subject.name}"


def _with_final_score(subject: Subject, lines: dict[str, Points]) -> dict[str, Points]:
    """Evaluations after training give the last point, where the training itself did not evaluate then."""
    run = subject.run
    scores = run.scores.get("vote") or run.scores.get(STOCK) or {}
    for metric in run.framework.metrics:
        key = run.framework.logged(metric)
        points = lines.setdefault(key, [])
        if metric in scores and run.iteration and not (points and points[-1][0] >= run.iteration):
            points.append((run.iteration, scores[metric]))
        if not points or (metric != run.framework.main_metric and len(points) == 1):  # the table has it
            del lines[key]
    return lines


def _of_outputs(subject: Subject, lines: dict[str, Points]) -> list[Markup]:
    """What the outputs did on training batches, if that was logged."""
    found: dict[str, list[tuple[str, Points]]] = {}
    for key, points in lines.items():
        if match := OUTPUT.match(key):
            found.setdefault(match[2], []).append((match[1], points))
    parts = []
    for kind, title in (("accuracy", "accuracy on training batches"), ("active_units", "active units")):
        if kind in found:
            series = [Series(name, points, i % STYLES) for i, (name, points) in enumerate(sorted(found[kind]))]
            parts.append(legend([(each.label, each.style) for each in series]))
            parts.append(tag("div", chart(f"{subject.name}: {title}", series), class_="charts"))
    return parts
