"""The log of a training as points over iterations."""

import math

from .files import is_number
from .reading import reader_of
from .run import Run

MOST_POINTS = 300  # of a curve; longer curves are averaged, to keep the page small

Points = list[tuple[float, float]]


def entries(run: Run) -> list[dict]:
    """The lines of the run's log, each with ``iterations``: the number done when it was written.

    Lines that a resumed or restarted training wrote again replace the older ones.

    Raises:
        ValueError: a log is malformed; the message names it.
    """
    found = reader_of(run.framework).log_entries(run)
    kept: list[dict] = []
    for entry in found:
        while kept and kept[-1]["iterations"] > entry["iterations"]:
            kept.pop()
        kept.append(entry)
    return kept


def curves(log: list[dict]) -> dict[str, Points]:
    """For each key of the log its finite values over iterations, at most ``MOST_POINTS``."""
    found: dict[str, dict[float, float]] = {}
    for entry in log:
        for key, value in entry.items():
            if is_number(value):
                found.setdefault(key, {})[entry["iterations"]] = float(value)
    return {key: thin(list(points.items())) for key, points in found.items()}


def thin(points: Points, most: int = MOST_POINTS) -> Points:
    """Averages of neighbouring points if there are more than ``most``; the last point is kept."""
    if len(points) <= most:
        return points
    size = math.ceil((len(points) - 1) / (most - 1))
    groups = [points[i : min(i + size, len(points) - 1)] for i in range(0, len(points) - 1, size)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return [*means, points[-1]]


def training_seconds(log: list[dict]) -> float | None:
    """Average logged seconds per iteration, times iterations; None if none was logged."""
    training = [entry for entry in log if "total_loss" in entry or "loss" in entry]  # not a validation
    times = [entry["time"] for entry in training if is_number(entry.get("time"))]
    return training[-1]["iterations"] * sum(times) / len(times) if times else None
