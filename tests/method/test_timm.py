"""timm's models and the recipe for its own training script. timm is not part of the environment."""

import importlib
import re

import pytest
import torch
from repository import ROOT

from ffc_dense import FFCLinear

timm = pytest.importorskip("timm")


def test_the_recipe_of_the_docs_registers_a_model_that_takes_timms_arguments(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python timm\n(.*?)```", (ROOT / "docs/start/pytorch.md").read_text(), re.DOTALL)
    (tmp_path / "ffc_timm.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("ffc_timm")
    torch.manual_seed(0)
    model = timm.create_model("ffc_resnet50", num_classes=7, pretrained=False).eval()
    torch.manual_seed(0)
    stock = timm.create_model("resnet50", num_classes=7).eval()
    assert isinstance(model.fc, FFCLinear) and model.fc.out_features == 7
    missing, unexpected = model.load_state_dict(stock.state_dict(), strict=False)
    assert unexpected == [] and missing == [f"fc.filters.{i}.{name}" for i in range(3) for name in ("weight", "bias")]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        model.fc.test_reduce = "out1"
        torch.testing.assert_close(model(x), stock(x))
