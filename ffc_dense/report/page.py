"""The page: the data of all groups, put into ``templates/page.html`` with style and script inline."""

import base64
import hashlib
import os
import shlex
from collections.abc import Iterable
from datetime import datetime
from importlib.resources import files
from itertools import count
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..runs import analyses
from ..runs.analyses import Analysis
from ..version import __version__
from . import tables
from .curves import training_curves
from .gallery import gallery
from .pictures import png_file, strips
from .subjects import Group, Subject
from .verdict import settings, verdict

SCRIPTS = ("tables.js", "charts.js", "viewer.js", "gallery.js", "address.js")
MOST_IMAGES = 16
PLOTS = {
    "active_units.png": "Mean number of active units of the feature that each output classifies",
    "reliability.png": "Accuracy against confidence for each output, the mean and the vote",
}


def render(
    groups: list[Group], most_images: int = MOST_IMAGES, written: datetime | None = None,
    pictures: Iterable[Path | str] = (),
) -> str:  # fmt: skip
    """The HTML of a report. It fetches nothing, and its policy forbids every script but its own.

    Args:
        groups: from :func:`ffc_dense.report.collect`.
        most_images: in the gallery of each run, and of each folder of ``pictures``.
        written: the date on the page; by default now.
        pictures: folders with pictures that ``ffc-dense predict`` wrote.

    Raises:
        ValueError: an analysis is malformed; the message names it.
        FileNotFoundError: a folder of ``pictures`` is missing or holds none.
    """
    numbers = count()
    style, script = _asset("report.css"), "".join(map(_asset, SCRIPTS))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        groups=[_group(group, most_images, numbers) for group in groups],
        strips=strips(pictures, most_images),
        written=f"{written or datetime.now().astimezone():%Y-%m-%d %H:%M %Z}".strip(),
        version=__version__, policy=policy, style=style, script=script,
    )  # fmt: skip


def _group(group: Group, most_images: int, numbers: count) -> dict:
    return {
        "name": group.name,
        "verdict": verdict(group),
        "settings": settings(group),
        "warnings": group.warnings,
        "scores": tables.scores(group),
        "curves": training_curves(group),
        "runs": [_run(group, subject, most_images, numbers) for subject in group.subjects
                 if subject.analysis or not subject.is_stock],
    }  # fmt: skip


def _run(group: Group, subject: Subject, most_images: int, numbers: count) -> dict:
    """What the outputs do, as far as it was analysed; a baseline needs no analysis."""
    analysis = subject.analysis
    try:
        return {
            "name": subject.name,
            "is_stock": subject.is_stock,
            "classes": tables.classes(group, subject),
            "advice": _advice(subject) if analysis is None or analysis.newer else None,
            "analysis": _analysis(subject, analysis, most_images, numbers) if analysis else None,
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"{analysis.folder}: the analysis lacks {error}; make it anew") from error


def _analysis(subject: Subject, analysis: Analysis, most_images: int, numbers: count) -> dict:
    report = analysis.report
    plots = [name for name in report["pictures"] if name in PLOTS]
    return {
        "decisions": f"{report['decisions']:,} decisions: {report['decision']}",
        "checkpoint": os.path.basename(str(report.get("weights"))),
        "older_than": analysis.newer.name if analysis.newer else None,
        "others": ", ".join(path.name for path in analysis.others),
        "outputs": tables.outputs(analysis),
        "agreement": tables.agreement(report),
        "plots": [{"file": name, "title": PLOTS[name], "src": png_file(analysis.folder / name)} for name in plots],
        "gallery": None if subject.is_stock else gallery(analysis, next(numbers), most_images),
    }


def _advice(subject: Subject) -> dict:
    """The command that analyses the last checkpoint, its paths relative to the working folder; or why there is none."""
    try:
        given = analyses.command(subject.run)
    except FileNotFoundError as error:
        return {"command": None, "reason": subject.without_paths(str(error))}
    paths = [os.path.relpath(argument) if os.path.isabs(argument) else argument for argument in given]
    return {"command": shlex.join(["ffc-dense", "analyze", *paths]), "reason": None}


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
