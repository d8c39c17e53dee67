"""Comparisons as JSON, for other tools."""

from ..runs.run import STOCK
from .comparison import Comparison
from .statistics import Summary, paired


def as_json(comparisons: list[Comparison]) -> list[dict]:
    """A mapping per config: the paper's numbers, every run with its status and scores, and a result for each score."""
    return [
        {
            "config": group.name,
            "framework": group.framework.name,
            "paper": {"stock": group.system.stock, "ffc": group.system.ffc} if group.system else None,
            "runs": [
                {"folder": str(run.folder), "variant": variant, "seed": run.seed, "iteration": run.iteration,
                 "max_iterations": run.max_iterations, "status": run.status or "scored",
                 "notes": run.notes + [run.identity_note] * bool(run.identity_note), "scores": run.scores}
                for variant, runs in group.runs.items() for run in runs
            ],
            "results": [_result(group, variant, reduction, metric)
                        for variant in group.runs for reduction in group.reductions(variant)
                        for metric in group.framework.metrics if group.scores(variant, reduction, metric)],
        }
        for group in comparisons
    ]  # fmt: skip


def _result(group: Comparison, variant: str, reduction: str, metric: str) -> dict:
    summary = Summary.of(group.scores(variant, reduction, metric))
    result = {
        "variant": variant,
        "reduction": reduction,
        "metric": metric,
        "n": summary.n,
        "mean": summary.mean,
        "sd": summary.sd,
    }
    test = None
    if variant != STOCK:
        test = paired(group.by_seed(STOCK, STOCK, metric), group.by_seed(variant, reduction, metric))
    if test is not None:
        result["difference"] = {
            "seeds": list(test.seeds),
            "mean": test.difference.mean,
            "sd": test.difference.sd,
            "interval_95": test.interval,
            "t_p": test.t_p,
            "wilcoxon_p": test.wilcoxon_p,
            "note": test.note,
        }
    return result
