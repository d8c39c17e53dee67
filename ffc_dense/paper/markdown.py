"""Comparisons as Markdown tables, like the paper's Tables 2 to 6."""

from ..frameworks import FRAMEWORKS
from ..runs.run import STOCK
from ..text import table
from .comparison import Comparison
from .statistics import Paired, Summary, paired

TITLES = {
    2: "Table 2: ImageNet-1k val, one crop",
    3: "Table 3: ImageNet-1k val, with the bag of tricks and attention",
    4: "Table 4: COCO val2017, box AP",
    5: "Table 5: Cityscapes val",
    6: "Table 6: HMDB51, split 1",
    None: "Other configs",
}


def report(comparisons: list[Comparison], reductions: list[str] | None = None) -> str:
    """Every table that has a row. ``reductions``: test modes of FFC, a row each; by default all that were evaluated."""
    parts = []
    for number in filter(None, TITLES):
        rows = [group for group in comparisons if group.system and group.system.table == number]
        parts.append(f"### {TITLES[number]}\n\n{scores(rows, reductions)}")
    for framework in FRAMEWORKS:
        rows = [group for group in comparisons if not group.system and group.framework == framework]
        if rows:
            parts.append(f"### {TITLES[None]}, {framework.task}\n\n{scores(rows, reductions)}")
    if tests := seed_table(comparisons, reductions):
        parts.append(f"### FFC - stock, paired by seed\n\n{tests}")
    if states := state_list(comparisons):
        parts.append(f"### Runs without scores, and notes\n\n{states}")
    return "\n\n".join(parts)


def scores(comparisons: list[Comparison], reductions: list[str] | None = None) -> str:
    """A row per classifier and test mode: mean over seeds, the paper's number, the difference to stock."""
    if not comparisons:
        return "no runs"
    metrics = comparisons[0].framework.metrics
    published = [
        metric for metric in metrics if any(group.system and metric in group.system.stock for group in comparisons)
    ]
    head = ["config", "classifier", "test", "n", *metrics, *(f"{name}, paper" for name in published)]
    head += [f"{name}, FFC - stock" for name in metrics]
    lines = []
    for group in comparisons:
        lines.append(_score_row(group, STOCK, STOCK, metrics, published))
        for variant in group.variants:
            for reduction in chosen(group, variant, reductions):
                lines.append(_score_row(group, variant, reduction, metrics, published))
    return table(head, lines)


def chosen(group: Comparison, variant: str, reductions: list[str] | None) -> list[str]:
    """The test modes that get a row: those asked for, or those evaluated; at least the paper's."""
    return reductions or group.reductions(variant) or ["vote"]


def _score_row(
    group: Comparison, variant: str, reduction: str, metrics: tuple[str, ...], published: list[str]
) -> list[str]:
    found = {metric: group.scores(variant, reduction, metric) for metric in metrics}
    n = max(map(len, found.values()))
    cells = [group.name, variant, "-" if variant == STOCK else reduction, str(n) if n else "-"]
    if n:
        cells += [_score(values) for values in found.values()]
    else:
        cells += [_state(group, variant, reduction), *[""] * (len(metrics) - 1)]
    paper = {}
    if group.system and variant == STOCK:
        paper = group.system.stock
    elif group.system and (variant, reduction) == ("FFC", "vote"):
        paper = group.system.ffc
    cells += [group.system.shown(paper[metric]) if metric in paper else "" for metric in published]
    cells += [_difference(group, variant, reduction, metric) if n and variant != STOCK else "" for metric in metrics]
    return cells


def _score(values: list[float]) -> str:
    if not values:
        return "missing"
    summary = Summary.of(values)
    return f"{summary.mean:.2f}" + (f" ± {summary.sd:.2f}" if summary.sd is not None else "")


def _state(group: Comparison, variant: str, reduction: str) -> str:
    runs = group.runs.get(variant, [])
    if not runs:
        return "missing"
    reasons = {run.status or f"not evaluated with {reduction}" for run in runs}
    return "; ".join(sorted(reasons))


def _difference(group: Comparison, variant: str, reduction: str, metric: str) -> str:
    test = paired(group.by_seed(STOCK, STOCK, metric), group.by_seed(variant, reduction, metric))
    if test is not None:
        return f"{test.difference.mean:+.2f}"
    stock, ffc = group.scores(STOCK, STOCK, metric), group.scores(variant, reduction, metric)
    if stock and ffc:  # no seed in common
        return f"{Summary.of(ffc).mean - Summary.of(stock).mean:+.2f} (not paired)"
    return ""


def seed_table(comparisons: list[Comparison], reductions: list[str] | None = None) -> str:
    """A row per config, test mode and metric with at least one seed in both; '' if there is none."""
    lines = []
    for group in comparisons:
        for variant in group.variants:
            pair = group.runs.get(STOCK, []) + group.runs.get(variant, [])
            doubts = sorted({run.identity_note for run in pair if run.identity_note})
            for reduction in chosen(group, variant, reductions):
                for metric in group.framework.metrics:
                    stock = group.by_seed(STOCK, STOCK, metric)
                    ffc = group.by_seed(variant, reduction, metric)
                    if test := paired(stock, ffc):
                        cells = _test_cells(test, sorted(stock.keys() ^ ffc.keys()), doubts)
                        lines.append([group.name, variant, reduction, metric, *cells])
    if not lines:
        return ""
    head = [
        "config",
        "classifier",
        "test",
        "metric",
        "n (seeds)",
        "mean difference ± sd",
        "95 % interval",
        "paired t-test, p",
        "Wilcoxon, p (least possible)",
        "note",
    ]
    return table(head, lines)


def _test_cells(test: Paired, left_out: list[int], doubts: list[str]) -> list[str]:
    difference = test.difference
    notes = [test.note, *doubts] if test.note else list(doubts)
    if left_out:
        notes.append(f"seeds {', '.join(map(str, left_out))} without a partner left out")
    return [
        f"{difference.n} ({', '.join(map(str, test.seeds))})",
        f"{difference.mean:+.2f}" + (f" ± {difference.sd:.2f}" if difference.sd is not None else ""),
        "-" if test.interval is None else f"{test.interval[0]:+.2f} to {test.interval[1]:+.2f}",
        "-" if test.t_p is None else f"{test.t_p:.3g}",
        "-" if test.wilcoxon_p is None else f"{test.wilcoxon_p:.3g} ({test.wilcoxon_floor:.3g})",
        "; ".join(notes),
    ]


def state_list(comparisons: list[Comparison]) -> str:
    """A line per run that has no score, that has evaluations which do not count, or whose identity is in doubt."""
    lines = []
    for group in comparisons:
        for variant, runs in group.runs.items():
            for run in runs:
                reasons = [run.status] if run.status else list(run.notes)
                reasons += [run.identity_note] * bool(run.identity_note)
                seed = "seed unknown" if run.seed is None else f"seed {run.seed}"
                if reasons:
                    lines.append(f"- {group.name}, {variant}, {seed}: {'; '.join(reasons)} ({run.folder})")
    return "\n".join(lines)
