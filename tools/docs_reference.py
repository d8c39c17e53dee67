"""Write the parts of docs/reference that the code knows: the table in options.md, and cli.md.

    python tools/docs_reference.py

`make docs` runs it; tests/test_docs.py fails when a page is not what it would write.
"""

import io
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from textwrap import fill
from unittest.mock import patch

from ffc_dense.cli.__main__ import COMMANDS, PROGRAM, main
from ffc_dense.frameworks import recognise
from ffc_dense.method.options import documented

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
CONFIGS = (  # of each framework, to ask for its arguments
    "mini_coco/faster_rcnn_R_18_FPN_ffc.yaml",
    "mini_cityscapes/pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py",
    "mini_imagenet/resnet18-ffc_1xb32-504_mini-imagenet-64x64.py",
)
FIRST = {"check-data": {"COCO": "coco", "ImageNet": "imagenet"}}  # title: first argument, with arguments of its own
WIDTH = 100
CLI = """# Command line

`ffc-dense COMMAND ARGUMENTS`. This page is the output of `--help`; `python tools/docs_reference.py` writes it.
"""


def options_table() -> str:
    """The Markdown table of FFC's options."""
    rows = [f"| `{name}` | `{default}` | {valid} | {meaning} |" for name, default, valid, meaning in documented()]
    return "\n".join(["| option | default | valid values | meaning |", "|---|---|---|---|", *rows]) + "\n"


def filled(page: str) -> str:
    """The text of options.md with the table between its markers."""
    begin, end = "<!-- options -->\n", "<!-- /options -->"
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}{options_table()}{end}", page, flags=re.DOTALL)


def cli_page() -> str:
    """The text of cli.md."""
    with redirect_stdout(io.StringIO()):
        import mmpretrain  # noqa: F401  (prints a line at its first import)
    sections = [CLI, f"```\n{output_of('--help')}```\n"]
    for name, command in COMMANDS.items():
        sections.append(f"## {name}\n\n```\n{output_of(name, '--help')}```\n")
        configs = CONFIGS[: 1 if command.module else None] if command.takes_config else ()
        further = {framework_of(config) if len(configs) > 1 else "all arguments": config for config in configs}
        for title, first in (further or FIRST.get(name, {})).items():
            sections.append(f"### {name}: {title}\n\n```\n{output_of(name, first, '--help')}```\n")
    return "\n".join(sections)


def framework_of(config: str) -> str:
    return recognise(REFERENCE.parent.parent / "configs" / config)[0].title


def output_of(*arguments: str) -> str:
    """What ``ffc-dense ARGUMENTS`` prints, WIDTH columns wide."""
    out = io.StringIO()
    with patch.dict(os.environ, COLUMNS=str(WIDTH)), patch.object(sys, "argv", [PROGRAM]), redirect_stdout(out):
        with redirect_stderr(io.StringIO()):
            with suppress(SystemExit):
                main(list(arguments))
    lines = out.getvalue().strip("\n").splitlines()
    return "".join(fill(line.rstrip(), 120, break_on_hyphens=False) + "\n" for line in lines)


def pages() -> dict[Path, str]:
    """The files and their text."""
    options = REFERENCE / "options.md"
    return {options: filled(options.read_text()), REFERENCE / "cli.md": cli_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
