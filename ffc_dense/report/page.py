"""The page: sections of all groups, with style and script inline."""

import base64
import hashlib
import shlex
from importlib.resources import files
from pathlib import Path

from ..runs import analyses
from ..version import __version__
from . import tables
from .curves import training_curves
from .gallery import gallery
from .markup import Markup, tag
from .pictures import png_file
from .subjects import Group, Subject

SCRIPTS = ("tables.js", "charts.js", "viewer.js", "gallery.js", "address.js")
MOST_IMAGES = 16
PLOTS = {
    "active_units.png": "Mean number of active units of the feature that each output classifies",
    "reliability.png": "Accuracy against confidence for each output, the mean and the vote",
    "agreement.png": "How many outputs agree with the elected class, and how often the vote is right then",
    "class_gain.png": "Score of the vote minus that of Out1, class by class",
}


def render(groups: list[Group], most_images: int = MOST_IMAGES) -> str:
    """The HTML of a report. It fetches nothing, and its policy forbids every script but its own.

    Args:
        groups: from :func:`ffc_dense.report.collect`.
        most_images: in the gallery of each run.

    Raises:
        ValueError: an analysis is malformed; the message names it.
        UserError: Pillow is missing.
    """
    numbers = iter(range(10**6))
    sections = [_group(group, place, most_images, numbers) for place, group in enumerate(groups)]
    links = [tag("a", group.name, href=f"#group-{place}") for place, group in enumerate(groups)]
    style, script = _asset("report.css"), "".join(_asset(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    title = "FFC report: " + ", ".join(group.name for group in groups)
    head = tag(
        "head", tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title), tag("style", Markup(style)),
    )  # fmt: skip
    body = tag(
        "body",
        tag("a", "Skip to the runs", href="#runs", class_="skip"),
        tag("header", tag("h1", "FFC against its stock twin"), tag("nav", links, aria_label="Runs")),
        tag("main", sections, id="runs"),
        tag("footer", tag("p", f"Written by ffc_dense {__version__}.")),
        _viewer(), tag("script", Markup(script)),
    )  # fmt: skip
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en") + "\n"


def _group(group: Group, place: int, most_images: int, numbers) -> Markup:
    notes = [tag("p", warning, class_="warning") for warning in group.warnings]
    if not any(subject.is_stock for subject in group.subjects):
        notes.append(tag("p", "No stock twin: name its folder with --stock.", class_="warning"))
    seeds = {subject.run.seed for subject in group.subjects}
    if len(seeds) == 1 and len(group.subjects) > 1:
        notes.append(tag("p", "One run of each: differences may be those of the seed.", class_="note"))
    parts = [tag("h2", group.name), tables.scores(group), notes, tag("h3", "Training"), training_curves(group)]
    for subject in group.subjects:
        parts.append(_analysis(subject, most_images, numbers))
    return tag("section", parts, id=f"group-{place}")


def _analysis(subject: Subject, most_images: int, numbers) -> list[Markup]:
    """What the outputs do, as far as it was analysed; a stock run needs no analysis."""
    heading = tag("h3", f"What each output decides: {subject.name}")
    if subject.analysis is None:
        if subject.is_stock:
            return []
        return [heading, tag("p", "Not analysed yet. ", _advice(subject), class_="note")]
    analysis, report = subject.analysis, subject.analysis.report
    parts = [heading, tag("p", f"{report['decisions']:,} decisions: {report['decision']}. Checkpoint: ",
                          tag("code", str(report.get("weights"))), ".")]  # fmt: skip
    if analysis.newer:
        parts.append(tag("p", f"This analysis is older than {analysis.newer.name}, so it may be of other weights. ",
                         _advice(subject), class_="warning"))  # fmt: skip
    if analysis.others:
        parts.append(tag("p", f"Not shown: {', '.join(path.name for path in analysis.others)}.", class_="note"))
    parts.append(tables.outputs(analysis))
    parts.append(tag("div", [_plot(subject, name) for name in report["pictures"] if name in PLOTS], class_="plots"))
    if not subject.is_stock:
        shown = gallery(analysis, next(numbers), most_images)
        parts.append(tag("h3", f"What the vote fixed and broke: {subject.name}"))
        parts.append(shown or tag("p", "The vote fixed and broke nothing that Out1 decided."))
    return parts


def _advice(subject: Subject) -> list:
    try:
        command = shlex.join(["python", "tools/analyze_outputs.py", *analyses.command(subject.run)])
    except FileNotFoundError as error:
        return [str(error)]
    way = "This command" if subject.is_stock else "This command, or --analyze,"
    return [f"{way} analyses the last checkpoint: ", tag("code", command)]


def _plot(subject: Subject, name: str) -> Markup | None:
    content = png_file(subject.analysis.folder / name)
    if content is None:
        return tag("p", f"{name} is missing from {subject.analysis.folder}", class_="warning")
    picture = tag("img", src=content, alt=f"{PLOTS[name]}, of {subject.name}", class_=Path(name).stem)
    return tag("figure", tag("figcaption", PLOTS[name]), picture, class_="plot")


def _viewer() -> Markup:
    """The large view, filled by the script."""
    names = (("previous", "← Previous"), ("next", "Next →"), ("larger", "+ Larger"), ("smaller", "- Smaller"),
             ("whole", "Whole image"), ("close", "Close"))  # fmt: skip
    buttons = [tag("button", text, type="button", data_do=name) for name, text in names]
    keys = "Keys: arrows for the next image, + and - to zoom, 0 for the whole image, Escape to close; drag to move."
    return tag(
        "dialog", tag("div", tag("h2", id="viewer-title"), tag("div", buttons, class_="buttons"), class_="bar"),
        tag("div", class_="stage"), tag("div", class_="facts"), tag("p", keys, class_="note"),
        id="viewer", aria_labelledby="viewer-title",
    )  # fmt: skip


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
