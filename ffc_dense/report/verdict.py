"""What a group's runs say about FFC, in two sentences, and the settings that they have in common."""

from collections.abc import Iterable
from statistics import fmean

from ..paper.comparison import Comparison
from ..paper.statistics import paired
from ..runs.run import STOCK
from .subjects import Group


def verdict(group: Group) -> str:
    """Two sentences: the scores under the main metric, and what they allow to conclude."""
    runs: dict[str, list] = {}
    for subject in group.subjects:
        runs.setdefault(subject.run.variant, []).append(subject.run)
    compared, metric = Comparison(group.framework, group.name, runs), group.framework.main_metric
    stock = compared.scores(STOCK, STOCK, metric)
    variant, mode, ffc = next(
        ((variant, mode, found) for variant in compared.variants for mode in compared.reductions(variant)
         if (found := compared.scores(variant, mode, metric))), ("FFC", "vote", []),
    )  # fmt: skip
    name = f"{variant} with {'the ' * (mode in ('vote', 'mean'))}{mode}"
    if not ffc and not stock:
        return "No run has a score yet. The table of scores says what each one lacks."
    if not ffc:
        return f"The baseline scores {_mean(stock, metric)}. No FFC run has a score, so there is no comparison."
    if not stock:
        remedy = "evaluate it" if STOCK in runs else "name its folder with --stock"
        return f"{name} scores {_mean(ffc, metric)}. The baseline has no score, so there is no comparison: {remedy}."
    scores = f"{name} scores {_mean(ffc, metric)}, the baseline {_mean(stock, metric)}"
    gain = f"{fmean(ffc) - fmean(stock):+.2f} {metric}"
    if group.warnings:
        return f"{scores}: {gain}. Their settings differ in more than FFC, which may be the cause."
    test = paired(compared.by_seed(STOCK, STOCK, metric), compared.by_seed(variant, mode, metric))
    if test is None or test.difference.n < 2:
        few = "One run of each" if len(ffc) == len(stock) == 1 else "Fewer than two seeds in common"
        return f"{scores}: {gain}. {few} cannot separate this from the variation between seeds."
    gain = f"{test.difference.mean:+.2f} {metric} on average over {test.difference.n} common seeds"
    if test.interval is None:
        return f"{scores}: {gain}. Whether this is significant is unknown ({test.note})."
    low, high = test.interval
    found = (
        "not statistically significant: the interval includes 0" if low <= 0 <= high else "statistically significant"
    )
    return (
        f"{scores}: {gain}, 95 % interval [{low:+.2f}, {high:+.2f}]. "
        f"The difference is {found} (paired t-test, p = {test.t_p:.2g})."
    )


def settings(group: Group) -> dict[str, str]:
    """What the runs have in common, and their seeds: name -> value."""
    runs = [subject.run for subject in group.subjects]
    reports = [subject.analysis.report for subject in group.subjects if subject.analysis]
    tested = [name for run in runs for name in run.datasets] + [str(each.get("dataset") or "") for each in reports]
    return {
        "Config": group.name,
        "Framework": f"{group.framework.title} ({group.framework.task})",
        "Classifiers": _listed(run.variant for run in runs),
        "Test set": _listed(tested),
        "Iterations": _listed(f"{run.max_iterations:,}" for run in runs if run.max_iterations is not None),
        "Seeds": _listed(str(run.seed) for run in runs if run.seed is not None),
    }


def _mean(scores: list[float], metric: str) -> str:
    return f"{fmean(scores):.2f} {metric}" + (f" (mean of {len(scores)} runs)" if len(scores) > 1 else "")


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, values))) or "unknown"
