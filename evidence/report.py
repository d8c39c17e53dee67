"""Put tables and pictures into docs/background/evidence.md."""

import re
from pathlib import Path

from ffc_dense.reliability.saving import write_text_atomically

from .plots import draw
from .record import Result
from .tables import tables

PAGE = "evidence.md"


def write(results: list[Result], template: Path, target: Path) -> None:
    """Fill every place ``<!-- evidence: NAME -->`` ... ``<!-- /evidence -->`` of ``template``; draw the pictures.

    Args:
        template: docs/background/evidence.md, with whatever tables.
        target: folder for the filled page and the pictures.

    Raises:
        ValueError: the template has no place for a table, or one for a table that there is not.
    """
    write_text_atomically(filled(template.read_text(), tables(results)), target / PAGE)
    draw(results, target)


def filled(text: str, found: dict[str, str]) -> str:
    places = re.findall(r"<!-- evidence: (\S+) -->", text)
    if sorted(places) != sorted(found):
        wrong = ", ".join(sorted(set(places) ^ set(found))) or "one of them twice"
        raise ValueError(f"{PAGE}: there must be one place <!-- evidence: NAME --> for each table, wrong is: {wrong}")
    for name, table in found.items():
        place = re.compile(rf"(<!-- evidence: {re.escape(name)} -->\n).*?(<!-- /evidence -->)", re.DOTALL)
        text = place.sub(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text)
    return text
