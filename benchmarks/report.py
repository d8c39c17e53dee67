"""The Markdown tables, and their places in docs/background/performance.md."""

import re
from pathlib import Path

from .works import FFC, Result

HEADER = "| work | FFC | baseline | FFC / baseline | target | met? |\n|---|---|---|---|---|---|"
TITLES = {"cpu": "CPU", "cuda": "CUDA"}
MARKED = (*TITLES, "load")  # the sections of docs/background/performance.md that commands write
MACHINE = "Machine: "
COMMANDS = {"cpu": "python -m benchmarks --device cpu", "cuda": "python -m benchmarks gpu"}  # that measure a device


def table(results: list[Result], quick: bool) -> str:
    """A row per work and baseline. Quick sizes are not compared with the targets."""
    return "\n".join([HEADER, *(_row(result, name, quick) for result in results for name in result.work.bars)])


def _row(result: Result, baseline: str, quick: bool) -> str:
    bar = result.work.bars[baseline]
    asked = "" if bar is None else f"at most {bar:.2f}"
    if result.reason:
        cells = [result.work.name, "", baseline, "not measured", asked, f"not measured: {result.reason}"]
    else:
        ratio, spread = result.ratio(baseline), result.spread(baseline)
        between = f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else ""
        met = "" if bar is None else "yes" if ratio <= bar else f"no, {ratio / bar:.2f}x the target"
        if quick and met:
            met = "not judged: quick sizes"
        theirs = f"{baseline}, {quantity(result.median(baseline), result.work.unit)}"
        cells = [
            result.work.name,
            quantity(result.median(FFC), result.work.unit),
            theirs,
            f"{ratio:.2f}{between}",
            asked,
            met,
        ]
    return "| " + " | ".join(cells) + " |"


def quantity(value: float, unit: str) -> str:
    """Seconds as s or ms, bytes as MB (10^6 bytes), with three digits."""
    if unit == "memory":
        return f"{_digits(value / 1e6)} MB"
    return f"{_digits(value)} s" if value >= 1 else f"{_digits(value * 1000)} ms"


def _digits(value: float) -> str:
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{decimals}f}"


def section(device: str, results: list[Result], machine: str, run: str, quick: bool, plot: str = "") -> str:
    """The machine, the command, the table and the plot of one device; one sentence if nothing was measured on it.

    ``machine`` is '' if the device is absent; ``plot`` is a file beside the Markdown file, '' if there is none.
    """
    measured = f"{MACHINE}{machine}.\n\n{run}\n\n" if machine else ""
    picture = f"\n![Time of one layer over features, classes, positions and filters]({plot})\n" if plot else ""
    rows = table(results, quick)
    if results and not any(result.samples for result in results):
        reasons = ", ".join(dict.fromkeys(result.reason for result in results))
        rows = f"Not measured: {reasons}. `{COMMANDS[device]}` measures it."
    return f"### {TITLES[device]}\n\n{measured}{rows}\n{picture}"


def marker(device: str, end: str) -> str:
    return f"<!-- benchmark {device}: {end} -->"


def check_markers(path: Path) -> None:
    """Raise a ValueError if ``path`` lacks a pair of markers that :func:`write_docs` requires."""
    text = path.read_text() if path.exists() else ""
    for device in MARKED:
        for end in ("begin", "end"):
            if text.count(marker(device, end)) != 1:
                raise ValueError(f"{path}: expected exactly one line {marker(device, end)!r}; put the pair back")


def write_docs(path: Path, sections: dict[str, str]) -> None:
    """Replace the text between the markers of each device. 'Not measured' never replaces a measurement."""
    text = path.read_text()
    for device, content in sections.items():
        begin, end = marker(device, "begin"), marker(device, "end")
        found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", text, re.DOTALL)
        if MACHINE in content or MACHINE not in found[0]:
            text = text[: found.start()] + f"{begin}\n{content}{end}" + text[found.end() :]
    path.write_text(text)
