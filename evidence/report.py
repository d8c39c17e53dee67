"""Write the tables and pictures of docs/background/evidence.md and evidence-tables.md."""

import re
from pathlib import Path

from ffc_dense.reliability.saving import write_text_atomically

from .plots import draw
from .record import Result
from .tables import tables

PAGES = ("evidence.md", "evidence-tables.md")  # for users; the appendix


def write(results: list[Result], templates: Path, target: Path) -> None:
    """Fill every place ``<!-- evidence: NAME -->`` ... ``<!-- /evidence -->`` of the pages; draw the pictures.

    Args:
        templates: folder of the pages; the tables in them do not matter.
        target: folder for the filled pages and the pictures.

    Raises:
        ValueError: a table has no place or several, or a place has no table.
    """
    pages = {page: (templates / page).read_text() for page in PAGES}
    for page, text in filled(pages, tables(results)).items():
        write_text_atomically(text, target / page)
    draw(results, target)


def filled(pages: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    """``pages`` {name: text} with the tables ``found`` {name: table} in their places; raises as :func:`write`."""
    places = [name for text in pages.values() for name in re.findall(r"<!-- evidence: (\S+) -->", text)]
    if sorted(places) != sorted(found):
        wrong = ", ".join(sorted(set(places) ^ set(found))) or "one of them twice"
        names = ", ".join(pages)
        raise ValueError(f"{names}: each table must have one place <!-- evidence: NAME -->, wrong is: {wrong}")
    place = re.compile(r"(<!-- evidence: (\S+) -->\n).*?(<!-- /evidence -->)", re.DOTALL)
    return {page: place.sub(lambda at: f"{at[1]}\n{found[at[2]]}\n\n{at[3]}", text) for page, text in pages.items()}
