"""The tables of docs/EVIDENCE.md, in Markdown, from the record alone."""

from .comparisons import Difference, Series, best_single, column, reached, series, summary
from .plan import ABLATIONS, HEADS, MAIN, PARTS_OF_FFC, SCHEDULES
from .record import METRIC, Result

Row = tuple[str, Series]
NOTE = (
    "Differences are paired by seed, with the 95 % interval of their mean. **Bold**: the interval leaves 0 out; of the "
    "{count} differences {chance:.1f} would by chance alone. °: it does so, but not after Holm's correction over its "
    "column."
)


def tables(results: list[Result]) -> dict[str, str]:
    """{name of its place in the document: table}"""
    found = {}
    for task in SCHEDULES:
        found[f"main-{task}"] = main_table(results, task)
        found[f"rules-{task}"] = rules_table(results, task)
        if len(SCHEDULES[task]) > 1:
            found[f"schedules-{task}"] = schedules_table(results, task)
            found[f"ablations-{task}"] = ablations_table(results, task)
        found[f"speed-{task}"] = speed_table(results, task)
    return found


def main_table(results: list[Result], task: str) -> str:
    """Stock, the controls and FFC under each reduction of one checkpoint, trained longest."""
    longest = SCHEDULES[task][-1]
    rows = [(HEADS[head].title, series(results, task, head, longest, "out1")) for head in ("stock", "ln", "ln_relu")]
    rules = ["vote", "mean", "vote at feature size", *(f"out{i}" for i in range(1, 8))]
    rows += [(f"FFC, {rule}", series(results, task, "ffc", longest, rule)) for rule in rules]
    rows = [row for row in rows if row[1]]
    stock, norm = (series(results, task, head, longest, "out1") for head in ("stock", "ln"))
    return _table(METRIC[task], rows, {"- stock": stock, "- LayerNorm": norm})


def rules_table(results: list[Result], task: str) -> str:
    """Every way from the outputs of one FFC checkpoint to a result."""
    longest = SCHEDULES[task][-1]
    ffc = [result for result in results if result.run.task == task and result.run.head == "ffc"]
    names = dict.fromkeys(rule for result in ffc if result.run.iterations == longest for rule in result.scores)
    single = best_single(results, task, "ffc", longest)
    rows = [
        (f"{rule} (the best single output)" if rule == single else rule, series(results, task, "ffc", longest, rule))
        for rule in names if rule == single or not rule.startswith("out")
    ]  # fmt: skip
    bases = {f"- {rule}": series(results, task, "ffc", longest, rule) for rule in ("vote", "mean", single)}
    return _table(METRIC[task], rows, bases)


def schedules_table(results: list[Result], task: str) -> str:
    rows, stocks = [], []
    for iterations in SCHEDULES[task]:
        for head in MAIN:
            rows.append((f"{HEADS[head].title}, {iterations} iterations", _own(results, task, head, iterations)))
            stocks.append(series(results, task, "stock", iterations, "out1"))
    differences = [Difference.of(values, stock) for (_, values), stock in zip(rows, stocks, strict=True)]
    lines = [[title, str(len(values)), summary(values)] for title, values in rows]
    texts = column(differences)
    lines = [[*line, "" if line[0].startswith("stock") else text] for line, text in zip(lines, texts, strict=True)]
    return _markdown(["head", "n", METRIC[task], "- stock, as long"], lines)


def ablations_table(results: list[Result], task: str) -> str:
    middle = SCHEDULES[task][-2]
    heads = [*MAIN, *PARTS_OF_FFC, *ABLATIONS[task]]
    rows = [(HEADS[head].title, _own(results, task, head, middle)) for head in heads]
    bases = {f"- {HEADS[head].title}": _own(results, task, head, middle) for head in ("ffc", "ln")}
    means = [(HEADS[head].title, series(results, task, head, middle, "mean")) for head in heads]
    table = _table(f"{METRIC[task]}, vote", rows, bases)
    other = _table(f"{METRIC[task]}, mean", means, {"- FFC": series(results, task, "ffc", middle, "mean")}, note=False)
    return f"{table}\n\nThe same checkpoints under the mean of the logits:\n\n{other}"


def speed_table(results: list[Result], task: str) -> str:
    """Iterations until the score on the held-out images reaches shares of what the stock head ends with."""
    longest = SCHEDULES[task][-1]
    curves = {head: [r.curve for r in results if (r.run.task, r.run.head, r.run.iterations) == (task, head, longest)]
              for head in MAIN}  # fmt: skip
    ends = [curve[max(curve)] for curve in curves["stock"] if curve]
    if not ends:
        return "no run yet"
    end = sum(ends) / len(ends)
    lines = []
    for head in MAIN:
        cells = []
        for share in (0.5, 0.75, 0.9):
            found = [reached(curve, share * end) for curve in curves[head] if curve]
            known = [iteration for iteration in found if iteration is not None]
            never = f" ({len(found) - len(known)} never)" if len(known) < len(found) else ""
            cells.append((f"{sum(known) / len(known):.0f}" if known else "-") + never)
        lines.append([HEADS[head].title, str(len(curves[head])), *cells])
    shares = [f"{share * end:.0f} {METRIC[task]}" for share in (0.5, 0.75, 0.9)]
    return _markdown(["head", "n", *(f"iterations to {share}" for share in shares)], lines)


def _own(results: list[Result], task: str, head: str, iterations: int) -> Series:
    """A head as it is tested by default: by the vote."""
    return series(results, task, head, iterations, "vote")


def _table(metric: str, rows: list[Row], bases: dict[str, Series], note: bool = True) -> str:
    differences = {name: [Difference.of(values, base) for _, values in rows] for name, base in bases.items()}
    lines = [[title, str(len(values)), summary(values)] for title, values in rows]
    for name, base in bases.items():
        texts = column(differences[name])
        for line, (_, values), text in zip(lines, rows, texts, strict=True):
            line.append("" if values == base else text)
    count = sum(values != bases[name] and each.pair is not None and each.pair.interval is not None
                for name, found in differences.items()
                for (_, values), each in zip(rows, found, strict=True))  # fmt: skip
    table = _markdown(["head", "n", metric, *bases], lines)
    return table + ("\n\n" + NOTE.format(count=count, chance=count * 0.05) if note else "")


def _markdown(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
