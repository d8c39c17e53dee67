"""The Markdown tables of docs/background/evidence.md and evidence-tables.md, from the record alone."""

from ffc_dense.text import table

from .comparisons import LEVEL, MINIMUM, Difference, Series, column, reached, series, summary
from .plan import (
    ABLATIONS,
    BEYOND,
    CANDIDATES,
    CONTROLS,
    HEADS,
    MAIN,
    PARTS_OF_FFC,
    RATES,
    SCHEDULES,
    SHORTER,
    with_rate,
)
from .record import METRIC, TITLES, Result, of_repeat
from .selectors import EVERY_SCORE, HELD_OUT

Row = tuple[str, Series]
NO_RUN = "no run yet"
NOTE = "{count} comparisons; by chance alone {chance:.1f} of them would be bold."


def tables(results: list[Result]) -> dict[str, str]:
    """{name of its place in the pages: table}"""
    found = {"repeats": repeats_table(results)}
    again, results = of_repeat(results, 1), of_repeat(results, 0)
    found["summary"] = summary_table(results)
    for task in SCHEDULES:
        found[f"main-{task}"] = main_table(results, task)
        # The selectors were fitted to the repeated runs.
        repeated = [result for result in again if result.run.task == task]
        found[f"rules-{task}"] = rules_table(repeated or results, task)
        if task in SHORTER:
            found[f"schedules-{task}"] = schedules_table(results, task)
        if task in ABLATIONS:
            found[f"ablations-{task}"] = ablations_table(results, task)
        found[f"speed-{task}"] = speed_table(results, task)
    found["rates-classification"] = rates_table(results, "classification")
    return found


def summary_table(results: list[Result]) -> str:
    """The three main heads at the longest schedules, also in README.md. Without Holm's correction."""
    lines = []
    for task, iterations in ((task, schedules[-1]) for task, schedules in SCHEDULES.items()):
        stock, ffc, norm = (_own(results, task, head, iterations) for head in ("stock", "ffc", "ln"))
        pairs = [(ffc, stock), (norm, stock), (ffc, norm)]
        seeds = str(len(stock.keys() & ffc.keys() & norm.keys()))
        cells = [Difference.of(*pair).text(True) for pair in pairs]
        lines.append([f"{TITLES[task]}, {METRIC[task]}", seeds, *cells])
    header = ["", "seeds", "FFC - stock", "one LayerNorm - stock", "FFC - one LayerNorm"]
    return table(header, lines)


def main_table(results: list[Result], task: str) -> str:
    """The longest schedule: stock, FFC under each test mode of one checkpoint, the controls, the parts of FFC."""
    longest = SCHEDULES[task][-1]
    rows = [(HEADS[head].label, series(results, task, head, longest, "out1")) for head in ("stock", "ln")]
    rules = ["vote", "mean", "vote at feature size", *(f"out{i}" for i in range(1, 8))]
    rows += [(f"FFC, {rule}", series(results, task, "ffc", longest, rule)) for rule in rules]
    others = (*CONTROLS, *PARTS_OF_FFC, *CANDIDATES)
    rows += [(HEADS[head].label, _own(results, task, head, longest)) for head in others]
    bases = {"- stock": HEADS["stock"].label, "- LayerNorm": HEADS["ln"].label}
    return _table(METRIC[task], [row for row in rows if row[1]], bases)


def rules_table(results: list[Result], task: str) -> str:
    """Every test mode and selector on the outputs of one FFC checkpoint."""
    longest = SCHEDULES[task][-1]
    ffc = [result for result in results if (result.run.task, result.run.head) == (task, "ffc")]
    names = dict.fromkeys(rule for result in ffc if result.run.iterations == longest for rule in result.scores)
    names = [rule for rule in names if rule != HELD_OUT and not rule.startswith("out")]
    found = {rule: series(results, task, "ffc", longest, rule) for rule in names}
    tables = []
    for ending in ("", EVERY_SCORE):
        rows = [(rule, values) for rule, values in found.items() if rule.endswith(EVERY_SCORE) == bool(ending)]
        bases = {f"- {rule}": rule + ending for rule in ("vote", "mean")}
        if rows or not ending:
            tables.append(_table(METRIC[task], rows, bases))
    return "\n\n".join(tables)


def rates_table(results: list[Result], task: str) -> str:
    """Each main head's search for its classifier's learning rate, and the heads at their chosen rates."""
    longest = SCHEDULES[task][-1]
    lines, rows = [], []
    for head in MAIN:
        test = {rate: _own(results, task, with_rate(head, rate), longest) for rate in RATES}
        known = {rate: series(results, task, with_rate(head, rate), longest, HELD_OUT) for rate in RATES}
        for rate in RATES:
            title = f"{HEADS[head].label}, x {rate:g}"
            lines.append([title, str(len(test[rate])), summary(known[rate]), summary(test[rate])])
        seeds = set.intersection(*map(set, known.values()))  # a rate is chosen on the seeds that all rates have
        if seeds:
            best = max(RATES, key=lambda rate: sum(known[rate][seed] for seed in seeds))
            rows.append((f"{HEADS[head].label}, x {best:g}", {seed: test[best][seed] for seed in seeds}))
    if all(line[1] == "0" for line in lines):
        return NO_RUN
    metric = METRIC[task]
    searched = table(["head, rate of its classifier", "n", f"{metric} on held-out images", metric], lines)
    if len(rows) < len(MAIN):
        return f"{searched}\n\nNo rate is chosen yet: every head needs runs at every rate."
    bases = {"- stock": rows[MAIN.index("stock")][0], "- LayerNorm": rows[MAIN.index("ln")][0]}
    return f"{searched}\n\nEach at the rate that is best on the held-out images:\n\n{_table(metric, rows, bases)}"


def schedules_table(results: list[Result], task: str) -> str:
    """The three main heads at every schedule; the difference of the two bases appears once."""
    rows, from_stock, from_norm = [], [], []
    for iterations in (*SCHEDULES[task], *filter(None, [BEYOND.get(task)])):
        found = {head: _own(results, task, head, iterations) for head in MAIN}
        for head, values in found.items():
            rows.append((f"{HEADS[head].label}, {iterations} iterations", values))
            from_stock.append(Difference.of({} if head == "stock" else values, found["stock"]))
            from_norm.append(Difference.of(values if head == "ffc" else {}, found["ln"]))
    if not any(values for _, values in rows):
        return NO_RUN
    texts = [column(differences, [True] * len(rows)) for differences in (from_stock, from_norm)]
    lines = [[title, str(len(values)), summary(values), *each]
             for (title, values), *each in zip(rows, *texts, strict=True)]  # fmt: skip
    found = table(["head", "n", METRIC[task], "- stock, same schedule", "- LayerNorm, same schedule"], lines)
    return _with_note(found, sum(_compares(each) for each in from_stock + from_norm))


def ablations_table(results: list[Result], task: str) -> str:
    middle = SCHEDULES[task][-2]
    heads = [*MAIN, *PARTS_OF_FFC, *ABLATIONS[task]]
    rows = [(HEADS[head].label, _own(results, task, head, middle)) for head in heads]
    bases = {f"- {HEADS[head].label}": HEADS[head].label for head in ("ffc", "ln")}
    means = [(HEADS[head].label, series(results, task, head, middle, "mean")) for head in heads]
    table = _table(f"{METRIC[task]}, vote", rows, bases)
    other = _table(f"{METRIC[task]}, mean", means, {"- FFC": HEADS["ffc"].label})
    return f"{table}\n\nThe same checkpoints under the mean of the logits:\n\n{other}"


def speed_table(results: list[Result], task: str) -> str:
    """Iterations until the held-out score reaches 50, 75 and 90 % of the stock head's final score."""
    longest = SCHEDULES[task][-1]
    curves = {head: [r.curve for r in results if (r.run.task, r.run.head, r.run.iterations) == (task, head, longest)]
              for head in MAIN}  # fmt: skip
    ends = [curve[max(curve)] for curve in curves["stock"] if curve]
    if not ends:
        return NO_RUN
    end = sum(ends) / len(ends)
    lines = []
    for head in MAIN:
        cells = []
        for share in (0.5, 0.75, 0.9):
            found = [reached(curve, share * end) for curve in curves[head] if curve]
            known = [iteration for iteration in found if iteration is not None]
            never = f" ({len(found) - len(known)} never)" if len(known) < len(found) else ""
            cells.append((f"{sum(known) / len(known):.0f}" if known else "-") + never)
        lines.append([HEADS[head].label, str(len(curves[head])), *cells])
    shares = [f"{share * end:.0f} {METRIC[task]}" for share in (0.5, 0.75, 0.9)]
    return table(["head", "n", *(f"iterations to {share}" for share in shares)], lines)


def repeats_table(results: list[Result]) -> str:
    """How far two runs with the same seed end apart: FFC's vote at the longest schedules, first and second run."""
    lines = []
    for task in SCHEDULES:
        first, again = (_own(of_repeat(results, repeat), task, "ffc", SCHEDULES[task][-1]) for repeat in (0, 1))
        moved = Difference.of(again, first).pair
        if moved is not None:
            sd = "" if moved.difference.sd is None else f"{moved.difference.sd:.2f}"
            lines.append([f"{TITLES[task]}, {METRIC[task]}", str(len(again)), summary(first), summary(again),
                          Difference(moved).text(True), sd])  # fmt: skip
    header = ["FFC, vote", "n", "first run", "second run", "second - first", "standard deviation of the difference"]
    return table(header, lines) if lines else "no run was repeated"


def _own(results: list[Result], task: str, head: str, iterations: int) -> Series:
    """A head under the default test mode, the vote."""
    return series(results, task, head, iterations, "vote")


def _table(metric: str, rows: list[Row], bases: dict[str, str]) -> str:
    """``bases``: {name of a column: title of the row that is subtracted}."""
    if not any(values for _, values in rows):
        return NO_RUN
    lines = [[title, str(len(values)), summary(values)] for title, values in rows]
    compared = set()  # if both rows are bases, the table has their difference twice
    # An oracle knows the labels: it is an upper bound, not a competitor.
    takes_part = [not title.startswith("oracle") for title, _ in rows]
    for own in bases.values():
        base = dict(rows).get(own, {})
        differences = [Difference.of({} if title == own else values, base) for title, values in rows]
        for line, text in zip(lines, column(differences, takes_part), strict=True):
            line.append(text)
        for (title, _), each, part in zip(rows, differences, takes_part, strict=True):
            if part and _compares(each):
                compared.add(frozenset((title, own)))
    return _with_note(table(["head", "n", metric, *bases], lines), len(compared))


def _compares(difference: Difference) -> bool:
    return difference.pair is not None and difference.pair.difference.n >= MINIMUM


def _with_note(table: str, count: int) -> str:
    return f"{table}\n\n{NOTE.format(count=count, chance=count * LEVEL)}" if count else table
