"""The documentation: the site builds strictly, generated pages are current, and what pages name is there."""

import ast
import os
import re
import subprocess
import sys
from functools import cache

import griffe
import pytest
from repository import ROOT

REFERENCE = ROOT / "docs" / "reference"
PACKAGES = (
    "ffc_dense",
    *(f"ffc_dense.{name}" for name in ("detection", "segmentation", "classification", "video", "data")),
)
GRIFFE = griffe.GriffeLoader(search_paths=[ROOT])


def build(folder, cwd=ROOT):
    environment = dict(os.environ, NO_MKDOCS_2_WARNING="1", PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_site_builds_strictly(tmp_path):
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    index = (tmp_path / "index.html").read_text()
    for part in ("Start", "How to", "Reference", "Background"):
        assert part in index
    # A file outside docs/ is named, one of the pages made of such files is linked.
    install = (tmp_path / "start" / "install.html").read_text()
    assert "<code>tools</code>" in install and "../../" not in re.sub("<[^>]*assets[^>]*>", "", install)
    assert 'href="../reference/security.html"' in (tmp_path / "how-to" / "train.html").read_text()
    assert "<code>ffc_dense.FFCLinear" not in install
    assert 'id="ffc_dense.FFCLinear.outputs"' in (tmp_path / "reference" / "api.html").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[x](gone.md)", "gone.md"),
        ("[x](start/install.md#gone)", "#gone"),
        ("[x](../gone.py)", "there is no file gone.py"),
        ("::: ffc_dense.gone", "ffc_dense.gone"),
    ],
)
def test_what_is_not_there_fails_the_build(tmp_path, text, said):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "start").symlink_to(ROOT / "docs" / "start")
    (tmp_path / "docs" / "index.md").write_text(f"# Title\n\n{text}\n")
    config = (ROOT / "mkdocs.yml").read_text().replace("tools/docs_hooks.py", str(ROOT / "tools" / "docs_hooks.py"))
    (tmp_path / "mkdocs.yml").write_text(re.sub(r"^nav:\n(?:  .*\n)+", "", config, flags=re.MULTILINE))
    done = build(tmp_path / "site", cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr, done.stderr


def test_generated_pages_are_current(monkeypatch):
    pytest.importorskip("detectron2")
    pytest.importorskip("mmseg")
    pytest.importorskip("mmpretrain")
    monkeypatch.syspath_prepend(ROOT / "tools")
    import docs_reference

    for path, text in docs_reference.pages().items():
        assert path.read_text() == text, f"{path.name} is old: run python tools/docs_reference.py"


@cache
def package(name):
    GRIFFE.load("ffc_dense")
    GRIFFE.resolve_aliases(implicit=True)
    return GRIFFE.modules_collection[name]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_object_has_a_docstring_and_its_package_is_on_the_page(name):
    module = package(name)
    missing = []
    for public in module.exports:
        member = module.members.get(str(public))
        if member is None or member.is_attribute:  # made in a loop, as most heads; a constant
            continue
        if not member.has_docstring:
            missing.append(f"{name}.{public}")
    assert missing == [] and len(module.exports) > 5
    assert f"\n::: {name}\n" in (REFERENCE / "api.md").read_text()


def test_options_names_every_key_and_argument():
    pytest.importorskip("detectron2")
    from detectron2.config import get_cfg

    from ffc_dense.detection import add_ffc_config

    def keys(node, path=()):
        for key, value in node.items():
            if isinstance(value, dict):
                yield from keys(value, (*path, key))
            else:
                yield ".".join((*path, key)), value

    page = (REFERENCE / "options.md").read_text()
    ours, stock = get_cfg(), dict(keys(get_cfg()))
    add_ffc_config(ours)
    added = [pair for pair in keys(ours) if pair[0] not in stock]
    assert len(added) >= 10
    options = re.search(r"<!-- options -->\n(.*)<!-- /options -->", page, re.DOTALL)[1]
    for key, default in added:
        option = key.rpartition(".")[2].lower()
        if f"| `{option}` |" not in options:
            shown = f'"{default}"' if isinstance(default, str) else default
            assert f"| `{key}` | `{shown}` |" in page


def strings(folder):
    """The texts of the sources, adjacent literals joined, a NUL in the place of each value."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_code():
    page = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text()
    messages = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    assert len(messages) >= 10
    sources = list(strings(ROOT / "ffc_dense"))
    for message in messages:
        fixed = [re.escape(part.strip()) for part in message.split("...") if part.strip()]
        pattern = re.compile(".*".join(fixed))
        assert any(pattern.search(text) for text in sources), message
