"""The snippet of docs/how-to/export.md runs an exported file with onnxruntime alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

pytest.importorskip("mmpretrain")
pytest.importorskip("onnxruntime")

from ffc_dense.classification import Classifier
from ffc_dense.cli.__main__ import main
from ffc_dense.cli.shipped_configs import config_path

PAGE = (ROOT / "docs" / "how-to" / "export.md").read_text(encoding="utf-8")
ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ffc_dense", "torch", "onnx", "mmpretrain", "mmengine", "mmcv"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""


@pytest.mark.filterwarnings("ignore")  # the exporter's advice
def test_the_page_s_snippet_names_the_class_without_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("checkpoints").symlink_to(ROOT / "checkpoints")
    (command,) = re.findall(r"^ffc-dense (export(?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    (snippet,) = re.findall(r"^```python onnx\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    arguments = command.replace("\\\n", " ").split()
    main(arguments)
    done = subprocess.run([sys.executable, "-c", ABSENT + snippet], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classifier = Classifier(config_path(arguments[1]), arguments[2], "cpu")
    said = classifier("checkpoints/digit.jpg").name
    assert said in classifier.classes and done.stdout.split() == ["vote", said]
