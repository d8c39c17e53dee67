"""The tables of the report as data. Every cell carries the value by which the page sorts."""

import math
from dataclasses import dataclass

from ..runs.analyses import Analysis
from ..runs.run import STOCK
from .subjects import Group, Subject


@dataclass(frozen=True)
class Cell:
    """What is shown, what it is sorted by, and ``bar``: (left, width, CSS class) in percent of the cell's width."""

    text: str
    value: float | str | None
    bar: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class Table:
    """``head``: (name, meaning or '') of each column. ``lines``: where bars have a grid, in percent of the width."""

    caption: str
    head: list[tuple[str, str]]
    rows: list[list[Cell]]
    lines: tuple[float, ...] = ()


def text(value: str) -> Cell:
    return Cell(value, value)


def number(value: float | None, digits: int = 2, factor: float = 1, sign: bool = False) -> Cell:
    if value is None:
        return Cell("-", None)
    return Cell(f"{value * factor:{'+' * sign},.{digits}f}", value * factor)


def scores(group: Group) -> Table:
    """A row per run and test mode: scores in percent, the gain over the baseline, parameters, time."""
    metrics = group.framework.metrics
    head = [
        ("run", ""), ("classifier", ""), ("test mode", "how the outputs become one in testing"),
        *((name, "in percent") for name in metrics),
        *((f"{name} gain", f"{name} minus that of the baseline with the same seed, points") for name in metrics),
        ("parameters", "weights in the last checkpoint"),
        ("seconds", "of training: mean logged seconds per iteration, times iterations"),
        ("iterations", ""), ("seed", ""), ("state", ""),
    ]  # fmt: skip
    rows = [_score_row(group, subject, mode) for subject in group.subjects for mode in _modes(subject) or ["-"]]
    return Table(f"Scores of {group.name}", head, rows)


def _modes(subject: Subject) -> list[str]:
    order = {STOCK: 0, "vote": 1, "mean": 2}
    return sorted(subject.run.scores, key=lambda name: (order.get(name, 3), len(name), name))


def _score_row(group: Group, subject: Subject, mode: str) -> list[Cell]:
    run, baseline, metrics = subject.run, group.stock_of(subject), group.framework.metrics
    own = run.scores.get(mode, {})
    other = baseline.run.scores.get(STOCK, {}) if baseline and not subject.is_stock else {}
    gains = [own[name] - other[name] if name in own and name in other else None for name in metrics]
    state = "; ".join(filter(None, [run.status or "finished", *(run.notes if own else []), run.identity_note]))
    return [
        text(subject.name), text(run.variant), text("-" if mode == STOCK else mode),
        *(number(own.get(name)) for name in metrics), *(number(gain, sign=True) for gain in gains),
        number(subject.parameters, 0), number(subject.seconds, 0), number(run.iteration, 0),
        Cell("unknown" if run.seed is None else str(run.seed), run.seed), text(subject.without_paths(state)),
    ]  # fmt: skip


def outputs(analysis: Analysis) -> Table:
    """A row per output, the mean and the vote, as in the paper's Table 1."""
    report = analysis.report
    head = [
        ("output", ""), ("feature", "what the output classifies"),
        ("active units", "mean number of units > 0 of that feature"),
        ("confidence", "mean confidence of the decisions, %"),
        ("p(truth)", "mean probability of the true class, %"), ("ECE", "expected calibration error, %"),
        (report["metric"], "in percent"), ("won", "share of decisions that the output won in the vote, %"),
        ("changed", "share of decisions other than Out1's, %"),
        ("fixed", "share of decisions that are right where Out1 was wrong, %"),
        ("broken", "share of decisions that are wrong where Out1 was right, %"),
    ]  # fmt: skip
    rows = []
    for row in report["outputs"]:
        itself = row["name"] in ("out1", STOCK)
        rows.append([
            text(str(row["name"])), text(str(row["feature"] or "-")), number(row["active_units"], 1),
            *(number(row[key], 2, 100) for key in ("mean_confidence", "true_probability", "ece")),
            number(row[report["metric"]]), number(row["won"], 2, 100),
            *(number(None if itself else row[key], 2, 100) for key in ("changed", "fixed", "broken")),
        ])  # fmt: skip
    samples = f"{report['images']} {'videos' if report.get('unit') == 'videos' else 'images'}"
    return Table(f"Each output on {samples}; shares and confidences in percent", head, rows)


def agreement(report: dict) -> Table | None:
    """How many outputs chose the class of the vote, on a logarithmic scale: the rare cases are of interest."""
    found = [row for row in report.get("agreement", []) if row["share"]]
    if not found:
        return None
    decades = 1 + math.floor(0.3 - math.log10(min(row["share"] for row in found)))  # 0.3: of the shortest bar
    most = max(row["outputs"] for row in report["agreement"])
    rows = [[
        Cell(f"{row['outputs']} of {most}", row["outputs"]),
        number(row["share"] * report["decisions"], 0),
        Cell(f"{100 * row['share']:{'.2g' if row['share'] < 0.001 else '.2f'}}", row["share"]),
        Cell("", row["share"], (0, 100 * (1 + math.log10(row["share"]) / decades), "")),
        number(row["accuracy"], 1, 100),
    ] for row in found]  # fmt: skip
    head = [
        ("outputs that agree", "number of outputs that chose the class of the vote"),
        ("decisions", ""), ("share, %", ""),
        (f"{100 / 10**decades:g} % to 100 %, log scale", "a line at each power of ten"),
        ("vote right, %", "of the decisions with a known truth"),
    ]  # fmt: skip
    return Table(
        "Agreement of the outputs with the vote", head, rows, tuple(100 * i / decades for i in range(1, decades))
    )


def _class_scores(baseline: Subject) -> dict[str, float]:
    """{class: percent} of an evaluation, or else of an analysis."""
    analysed = baseline.analysis.report.get("class_scores") if baseline.analysis else None
    return baseline.run.class_scores.get(STOCK) or analysed or {}


def classes(group: Group, subject: Subject) -> Table | None:
    """The vote's score minus the baseline's, class by class; minus Out1's where the baseline has no such scores."""
    baseline, gains = group.stock_of(subject), subject.analysis.report["class_gain"] if subject.analysis else []
    before = _class_scores(baseline) if baseline else {}
    after = subject.run.class_scores.get("vote") or {row["class"]: row["vote"] for row in gains}
    unit, name = group.framework.main_metric.removeprefix("m"), "baseline"
    caption = f"{unit} of each class: the vote minus the baseline"
    if not before.keys() & after.keys():
        before, after = ({row["class"]: row[key] for row in gains} for key in ("out1", "vote"))
        name, caption = "Out1", f"{unit} of each class: the vote minus Out1"
        caption += " (the baseline has no scores per class: analyse its run)" if baseline else ""
    found = sorted(((after[key] - before[key], str(key)) for key in before if key in after), key=lambda each: -each[0])
    if not found:
        return None
    most = max(abs(gain) for gain, _ in found) or 1
    rows = []
    for gain, key in found:
        width = 50 * abs(gain) / most
        bar = (50, width, "gain") if gain >= 0 else (50 - width, width, "loss")
        rows.append([text(key), number(before[key]), number(after[key]), number(gain, sign=True), Cell("", gain, bar)])
    head = [("class", ""), (name, unit), ("vote", unit), ("gain", "points"), (f"-{most:.1f} to +{most:.1f}", "points")]
    return Table(caption, head, rows, (50,))
