"""The tables of the report. Every cell carries its value, by which the page sorts."""

from ..runs.analyses import Analysis
from ..runs.run import STOCK
from .markup import Markup, tag
from .subjects import Group, Subject

Cell = tuple[str, float | str | None]  # what is shown, and what it is sorted by


def number(value: float | None, digits: int = 2, factor: float = 1, sign: bool = False) -> Cell:
    if value is None:
        return "-", None
    return f"{value * factor:{'+' * sign},.{digits}f}", value * factor


def table(caption: str, head: list[str], rows: list[list[Cell | str]], titles: dict[str, str] | None = None) -> Markup:
    """A table whose heads are buttons that sort it. ``titles``: what a head means."""
    titles = titles or {}
    heads = [tag("th", tag("button", name, type="button", title=titles.get(name)), scope="col") for name in head]
    body = []
    for row in rows:
        cells = []
        for place, cell in enumerate(row):
            shown, value = cell if isinstance(cell, tuple) else (cell, cell)
            kind = None if isinstance(value, str) else "number"
            attributes = dict(class_=kind, data_value="" if value is None else value)
            cells.append(tag("th", shown, scope="row", **attributes) if place == 0 else tag("td", shown, **attributes))
        body.append(tag("tr", cells))
    inner = tag("table", tag("caption", caption), tag("thead", tag("tr", heads)), tag("tbody", body), class_="sortable")
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def scores(group: Group) -> Markup:
    """A row per run and reduction: scores in percent, the difference to the stock twin, parameters, time."""
    metrics = group.framework.metrics
    head = ["run", "classifier", "test", *metrics, *(f"{name}, FFC - stock" for name in metrics),
            "parameters", "seconds", "iterations", "seed", "state"]  # fmt: skip
    rows = []
    for subject in group.subjects:
        for reduction in _reductions(subject) or ["-"]:
            rows.append(_score_row(group, subject, reduction, metrics))
    titles = {
        "test": "how the outputs are reduced at test time", "parameters": "weights in the last checkpoint",
        "seconds": "of training: mean logged seconds per iteration, times iterations",
    }  # fmt: skip
    return table(f"Scores of {group.name}, in percent", head, rows, titles)


def _reductions(subject: Subject) -> list[str]:
    order = {STOCK: 0, "vote": 1, "mean": 2}
    return sorted(subject.run.scores, key=lambda name: (order.get(name, 3), len(name), name))


def _score_row(group: Group, subject: Subject, reduction: str, metrics: tuple[str, ...]) -> list[Cell | str]:
    run, twin = subject.run, group.stock_of(subject)
    own = run.scores.get(reduction, {})
    other = twin.run.scores.get(STOCK, {}) if twin and not subject.is_stock else {}
    gains = [own[name] - other[name] if name in own and name in other else None for name in metrics]
    notes = run.notes if own else []
    state = "; ".join(filter(None, [run.status or "finished", *notes, run.identity_note]))
    return [
        subject.name, run.variant, "-" if reduction == STOCK else reduction,
        *(number(own.get(name)) for name in metrics), *(number(gain, sign=True) for gain in gains),
        number(subject.parameters, 0), number(subject.seconds, 0),
        number(run.iteration, 0), ("unknown" if run.seed is None else str(run.seed), run.seed), state,
    ]  # fmt: skip


def outputs(analysis: Analysis) -> Markup:
    """A row per output, the mean and the vote, as in the paper's Table 1."""
    report = analysis.report
    metric = report["metric"]
    titles = {
        "active units": "mean number of units > 0 of the feature that the output classifies",
        "p(truth)": "mean probability of the true class, %", "confidence": "mean confidence of the decisions, %",
        "ECE": "expected calibration error, %", "won": "share of decisions that the output won in the vote, %",
        "changed": "share of decisions other than Out1's, %",
        "fixed": "share of decisions that are right where Out1 was wrong, %",
        "broken": "share of decisions that are wrong where Out1 was right, %",
    }  # fmt: skip
    head = ["output", "feature", "active units", "confidence", "p(truth)", "ECE", metric, "won", "changed", "fixed",
            "broken"]  # fmt: skip
    rows = []
    for row in report["outputs"]:
        changes = [number(row[key], 2, 100) for key in ("changed", "fixed", "broken")]
        if row["name"] in ("out1", STOCK):  # against itself
            changes = [("-", None)] * 3
        rows.append([
            row["name"], row["feature"] or "-", number(row["active_units"], 1),
            *(number(row[key], 2, 100) for key in ("mean_confidence", "true_probability", "ece")),
            number(row[metric]), number(row["won"], 2, 100), *changes,
        ])  # fmt: skip
    caption = f"Each output, the mean and the vote on {report['images']} images; shares and confidences in percent"
    return table(caption, head, rows, titles)
