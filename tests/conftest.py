"""What every test may use: the naive implementation of FFC, random filters, a seed."""

import builtins
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy_reference
import pytest
import torch
from torch import nn

from ffc_dense.method import literal as literal_form

# Minutes each, in few tests: they come first, so that no process of `make test` is left with one of them at the end.
LONGEST_FILES = ("test_training.py", "test_readme.py", "test_distributed.py", "test_demo.py", "test_training_coco.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST_FILES)  # stable: the rest keeps its order


ARGV = list(sys.argv)


@pytest.fixture(autouse=True)
def own_name(monkeypatch):
    """``ffc-dense COMMAND`` is put into ``sys.argv`` for messages: each test begins without the name of another's."""
    monkeypatch.setattr(sys, "argv", list(ARGV))


@pytest.fixture(autouse=True)
def imports_restored(monkeypatch):
    """detectron2's LazyConfig leaves its own ``__import__`` behind when a config fails."""
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)


@pytest.fixture(autouse=True)
def configs_unformatted(monkeypatch):
    """mmengine's Runner lays its config out with yapf several times; without it the same Python is written sooner."""
    if find_spec("yapf"):
        monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, True))


@pytest.fixture(autouse=True, scope="module")
def no_scope_of_other_modules():
    """A Runner leaves its config's ``default_scope`` behind in the process: a module begins without one, as alone."""
    if registry := sys.modules.get("mmengine.registry"):
        registry.DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def literal() -> SimpleNamespace:
    """The reference functions: stages, outputs and mean in torch, for gradients; the vote in NumPy."""
    return SimpleNamespace(
        stages=literal_form.stages,
        outputs=literal_form.outputs,
        mean=literal_form.mean,
        samples=lambda stacked, class_dim: numpy_reference.samples(stacked, class_dim).tolist(),
        winners=lambda sample, rounding=0.0: numpy_reference.winners([sample], rounding)[0],
    )


@pytest.fixture
def scramble():
    """Give every parameter of the filters its own random value, so that no two filters are alike."""

    def scramble_filters(layer: nn.Module) -> nn.Module:
        with torch.no_grad():
            for norm in layer.modules():
                if isinstance(norm, nn.LayerNorm):
                    norm.weight.normal_(1.0, 0.3)
                    norm.bias.normal_(0.0, 0.3)
        return layer

    return scramble_filters
