"""MkDocs hooks and a griffe extension: pages and docstrings that are written for GitHub and Sphinx fit the site.

- SECURITY.md, CONTRIBUTING.md and CHANGELOG.md are pages too.
- A link to another file of the repository, which the site does not have, becomes the file's path.
- A list needs no empty line before it, and a code block may have words after its language, as on GitHub.
- In docstrings Sphinx's roles, such as ``:class:`FFCLinear```, become code, and its ``::`` goes.
"""

import logging
import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PROJECT = {  # file of the repository -> page of the site
    "SECURITY.md": "reference/security.md",
    "CHANGELOG.md": "reference/changelog.md",
    "CONTRIBUTING.md": "background/contributing.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
log = logging.getLogger("mkdocs.hooks.ffc_dense")  # below "mkdocs": a warning fails a strict build


def on_files(files, config):
    for name, page in PROJECT.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown, page, **_):
    uri = page.file.src_uri
    source = next((name for name, place in PROJECT.items() if place == uri), f"docs/{uri}")
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [LINK.sub(lambda link: site_link(link, source, uri), with_empty_lines(part)) for part in parts[::2]]
    parts[1::2] = [re.sub(r"\A```(\w+) .*", r"```\1", part) for part in parts[1::2]]
    return "".join(parts)


def site_link(link: re.Match, source: str, uri: str) -> str:
    """A link of the file ``source`` as the page ``uri`` has it."""
    image, text, target, anchor = link.groups()
    if ":" in target:
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    place = path.removeprefix("docs/") if path.startswith("docs/") else PROJECT.get(path)
    if place:
        return f"{image}[{text}]({posixpath.relpath(place, posixpath.dirname(uri))}{anchor or ''})"
    if not (ROOT / path).exists():
        log.warning("%s: there is no file %s", source, path)
    return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"


def with_empty_lines(text: str) -> str:
    """An empty line between a paragraph and the list that follows it."""
    return re.sub(r"^(?![ \t]|[-*] |\d+\. )(.+\n)(?=(?:[-*]|\d+\.) )", r"\1\n", text, flags=re.MULTILINE)


class PlainRoles(griffe.Extension):
    def on_object(self, *, obj, **_):
        if obj.docstring:
            text = re.sub(r":(?:\w+:)?\w+:`[.~]*([^`]+)`", r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"^::$\n|:(?=:$)", "", text, flags=re.MULTILINE)
