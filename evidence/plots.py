"""The pictures of docs/background/evidence.md and evidence-tables.md."""

from pathlib import Path
from statistics import fmean, median

from matplotlib.axes import Axes

from ffc_dense import style

from .comparisons import MINIMUM, Difference, Series, series
from .plan import ABLATIONS, HEADS, MAIN, PARTS_OF_FFC, SCHEDULES
from .record import METRIC, TITLES, Result, of_repeat

# Okabe and Ito's colours
COLOURS = {"stock": style.STOCK, "ffc": style.FFC, "ln": style.CONTROL, "ln_relu": style.PURPLE}
OTHER = style.ORANGE
plt = style.pyplot()
MARKERS = {"stock": "o", "ffc": "s", "ln": "^", "ln_relu": "D"}


def draw(results: list[Result], docs: Path) -> None:
    """``evidence_main.png``, ``evidence_curves.png``, ``evidence_ablations.png``."""
    results = of_repeat(results, 0)
    for name, picture in (("main", differences), ("curves", curves), ("ablations", ablations)):
        figure = picture(results)
        figure.savefig(docs / f"evidence_{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


def differences(results: list[Result]):
    """Each classifier's gain over the stock one at the longest schedule: every seed, mean and 95 % interval."""
    figure, panels = _panels(results)
    lines = [("stock_lr10", "out1", "stock, rate x 10"), ("ln", "out1", "one LayerNorm"),
             ("ln_relu", "out1", "LayerNorm + ReLU"), ("ffc", "vote", "FFC, vote"), ("ffc", "mean", "FFC, mean"),
             ("ffc", "out1", "FFC, Out1"), ("ffc", "out3", "FFC, Out3"), ("ffc", "out7", "FFC, Out7")]  # fmt: skip
    for task, panel in panels.items():
        longest = SCHEDULES[task][-1]
        stock = series(results, task, "stock", longest, "out1")
        rows = [(label, COLOURS.get(head, OTHER), series(results, task, head, longest, rule))
                for head, rule, label in lines]  # fmt: skip
        _forest(panel, [row for row in rows if row[2]], stock)
        panel.set_title(f"{TITLES[task]}, {longest} iterations", fontsize=10)
        panel.set_xlabel(f"{METRIC[task]} minus stock classifier's")
    return figure


def ablations(results: list[Result]):
    """Each head's gain over one LayerNorm at the middle schedule."""
    figure, panels = plt.subplots(1, len(ABLATIONS), figsize=(11, 6.2), layout="constrained")
    for panel, task in zip(panels, ABLATIONS, strict=True):
        middle = SCHEDULES[task][-2]
        norm = series(results, task, "ln", middle, "out1")
        heads = [head for head in (*MAIN, *PARTS_OF_FFC, *ABLATIONS[task]) if head != "ln"]
        rows = [(HEADS[head].label, COLOURS.get(head, OTHER), series(results, task, head, middle, "vote"))
                for head in heads]  # fmt: skip
        _forest(panel, [row for row in rows if row[2]], norm)
        panel.set_title(f"{TITLES[task]}, {middle} iterations", fontsize=10)
        panel.set_xlabel(f"{METRIC[task]} minus that of one LayerNorm")
    return figure


def _panels(results: list[Result]):
    """A figure with a panel for each task that has runs, two side by side: {task: panel}."""
    tasks = [task for task in SCHEDULES if any(result.run.task == task for result in results)]
    rows = max(1, -(-len(tasks) // 2))
    figure, panels = plt.subplots(rows, 2, figsize=(9.5, 3.3 * rows), layout="constrained", squeeze=False)
    for panel in panels.flat[len(tasks) :]:
        panel.set_axis_off()
    return figure, dict(zip(tasks, panels.flat, strict=False))


def _forest(panel: Axes, rows: list[tuple[str, str, Series]], base: Series) -> None:
    """Each row's differences from ``base``. A row far below the others is a number at the edge."""
    panel.axvline(0, color="black", linewidth=0.8)
    means = [pair.difference.mean for _, _, values in rows if (pair := Difference.of(values, base).pair)]
    edge = -4 * median(map(abs, means)) - 1 if means else 0
    for place, (_, colour, values) in enumerate(rows):
        pair = Difference.of(values, base).pair
        if pair is None:
            continue
        each = [values[seed] - base[seed] for seed in pair.seeds]
        if pair.difference.mean < edge:
            panel.text(0.02, place, f"← {pair.difference.mean:.1f}", color=colour, fontsize=8, va="center",
                       transform=panel.get_yaxis_transform())  # fmt: skip
            continue
        panel.plot(each, [place] * len(each), ".", color=colour, alpha=0.55, markersize=6)
        panel.plot(pair.difference.mean, place, "D", color=colour, markersize=5)
        if pair.interval is not None and len(each) >= MINIMUM:
            panel.plot(pair.interval, [place, place], color=colour, linewidth=1.8)
    panel.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(axis="x", alpha=0.3)


def curves(results: list[Result]):
    """Learning curves: the mean, lowest and highest of the seeds."""
    figure, panels = _panels(results)
    for task, panel in panels.items():
        longest = SCHEDULES[task][-1]
        for head in MAIN:
            found = [result.curve for result in results
                     if (result.run.task, result.run.head, result.run.iterations) == (task, head, longest)]  # fmt: skip
            points = sorted({iteration for curve in found for iteration in curve})
            if not points:
                continue
            at = [[curve[point] for curve in found if point in curve] for point in points]
            label = f"{HEADS[head].label} (n = {len(found)})"
            panel.plot(points, [fmean(each) for each in at], color=COLOURS[head], marker=MARKERS[head], markersize=4,
                       label=label)  # fmt: skip
            panel.fill_between(points, [min(each) for each in at], [max(each) for each in at], color=COLOURS[head],
                               alpha=0.15, linewidth=0)  # fmt: skip
        panel.set_title(TITLES[task], fontsize=10)
        panel.set_xlabel("iteration")
        panel.set_ylabel(f"{METRIC[task]} on held-out images")
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize=7, loc="lower right")
    return figure
