"""An analysis as a Markdown table, a row per output as in the paper's Table 1."""

from ..text import table

HEAD = ("output", "feature", "active units", "mean confidence", "probability of the truth", "ECE")
TAIL = ("won", "changed", "fixed", "broken")


def markdown(report: dict) -> str:
    """The table of a report of :class:`ffc_dense.inspection.analysis.Analysis`. Shares are in percent."""
    metric = report["metric"]
    rows = []
    for row in report["outputs"]:
        cells = [row["name"], row["feature"] or "-", _number(row["active_units"], 1, 1)]
        cells += [_number(row[key], 2, 100) for key in ("mean_confidence", "true_probability", "ece")]
        cells.append(_number(row[metric], 2, 1))
        against_itself = row["name"] in ("out1", "stock")
        cells.append(_number(row["won"], 2, 100))
        cells += ["-" if against_itself else _number(row[key], 2, 100) for key in ("changed", "fixed", "broken")]
        rows.append(cells)
    return table([*HEAD, metric, *TAIL], rows)


def _number(value: float | None, digits: int, factor: float) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"
