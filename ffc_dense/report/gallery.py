"""The gallery: images where the vote changed most decisions of Out1 for better or worse."""

from pathlib import Path

from ..frameworks import by_name
from ..runs.analyses import Analysis
from . import boxes, maps
from .markup import Markup, tag
from .pictures import photograph

SORTS = (("fixed", "most fixed"), ("broken", "most broken"), ("name", "name"))
SHOWS = (("all", "all images"), ("gain", "more fixed than broken"), ("loss", "more broken than fixed"))


def chosen(report: dict, most: int) -> list[dict]:
    """At most ``most`` entries, each image once: in turn those with most fixed and most broken decisions."""
    fixed, broken = report["gallery"].get("fixed", []), report["gallery"].get("broken", [])
    found, names = [], set()
    for place in range(max(len(fixed), len(broken))):
        for entry in (*fixed[place : place + 1], *broken[place : place + 1]):
            if entry["image"] not in names:
                names.add(entry["image"])
                found.append(entry)
    return sorted(found[:most], key=lambda entry: -entry["fixed"])


def gallery(analysis: Analysis, number: int, most: int) -> Markup | None:
    """The controls and a card per image; None if the vote changed nothing for better or worse.

    Args:
        number: of the gallery on the page.
        most: images shown.

    Raises:
        ValueError: an entry is malformed; the message names the analysis.
    """
    report = analysis.report
    entries = chosen(report, most)
    if not entries:
        return None
    framework = by_name(report["framework"])
    try:
        cards = [_card(analysis, entry, f"photo-{number}-{i}", framework.unit) for i, entry in enumerate(entries)]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{analysis.folder}: the gallery lacks {error}; make the analysis anew") from error
    controls = tag(
        "form",
        _choice("sort", "Sort by ", SORTS), _choice("show", "Show ", SHOWS),
        tag("label", "Name or class ", tag("input", type="search", name="filter", placeholder="part of it")),
        tag("output", f"{len(cards)} of {len(cards)} images", name="count", aria_live="polite"),
        class_="controls",
    )  # fmt: skip
    signs = tag("ul", tag("li", tag("span", "fixed", class_="badge fixed"), " wrong by Out1, right by the vote"),
                tag("li", tag("span", "broken", class_="badge broken"), " right by Out1, wrong by the vote"),
                class_="legend")  # fmt: skip
    key = maps.key(report) if framework.unit == "pixels" else None
    return tag("div", controls, signs, key, tag("ol", cards, class_="cards"), class_="gallery", data_number=number)


def _choice(name: str, label: str, options: tuple) -> Markup:
    return tag("label", label, tag("select", [tag("option", text, value=value) for value, text in options], name=name))


def _card(analysis: Analysis, entry: dict, photo_id: str, unit: str) -> Markup:
    title = Path(entry["image"] or "unnamed").name
    content = photograph(entry["image"], analysis.folder / "gallery")
    defined = photo = None
    if content:
        # Once in the page, however often it is shown.
        image = tag("image", id=photo_id, href=content, width=entry["width"], height=entry["height"],
                    preserveAspectRatio="none")  # fmt: skip
        defined = tag("svg", tag("defs", image), class_="hidden", aria_hidden="true", width=0, height=0)
        photo = tag("use", href=f"#{photo_id}")
    if "boxes" in entry:
        found, (head, rows) = boxes.panels(entry, photo, title), boxes.rows(entry)
    else:
        found = maps.panels(entry, photo, title, analysis.folder, maps.palette(analysis.report))
        head, rows = maps.rows(entry)
    counts = [tag("span", f"{entry[kind]:,} fixed" if kind == "fixed" else f"{entry[kind]:,} broken",
                  class_=f"badge {kind}") for kind in ("fixed", "broken")]  # fmt: skip
    missing = None if content else tag("p", f"The image is not there any more, or unreadable: {entry['image']}",
                                       class_="warning")  # fmt: skip
    shown = [tag("span", picture, tag("span", name, class_="panel-name"), class_="panel-box")
             for name, picture in found]  # fmt: skip
    table = tag("table", tag("thead", tag("tr", [tag("th", name, scope="col") for name in head])),
                tag("tbody", [tag("tr", [tag("td", cell) for cell in row]) for row in rows]))  # fmt: skip
    words = " ".join([title, *(str(cell) for row in rows for cell in row)]).lower()
    return tag(
        "li", defined, tag("p", tag("strong", title), " ", counts, class_="card-title"), missing,
        tag("button", shown, type="button", class_="open", aria_label=f"Enlarge {title}"),
        tag("div", tag("p", f"{entry['fixed']:,} {unit} fixed, {entry['broken']:,} broken"), table, class_="details",
            hidden=True),
        class_="card", data_fixed=entry["fixed"], data_broken=entry["broken"], data_name=title, data_words=words,
    )  # fmt: skip
