"""No file of the package or the tools calls a reader that runs what it reads, but those that SECURITY.md names."""

import ast
import re

import pytest
from repository import ROOT

PICKLES = "ffc_dense/safe_files/pickles.py"  # its Unpickler admits no names but its own
YAML = "ffc_dense/safe_files/yaml_files.py"  # its loader is a SafeLoader
EXPORTED = "ffc_dense/export/recording.py"  # loads the file that it has just written
RUNS = {  # what runs what it reads, by its full name, and the files that are meant to use it
    "eval": set(),
    "exec": set(),
    "compile": set(),
    "__import__": set(),
    "pickle.load": set(),
    "pickle.loads": set(),
    "pickle.Unpickler": {PICKLES},
    "marshal.load": set(),
    "marshal.loads": set(),
    "shelve.open": set(),
    "joblib.load": set(),
    "dill.load": set(),
    "cloudpickle.load": set(),
    "pandas.read_pickle": set(),
    "yaml.load_all": set(),
    "yaml.unsafe_load": set(),
    "yaml.unsafe_load_all": set(),
    "yaml.full_load": set(),
    "yaml.full_load_all": set(),
    "torch.jit.load": {EXPORTED},
    "torch.export.load": {EXPORTED},
    "torch.hub.load": set(),
    "torch.hub.load_state_dict_from_url": set(),
    "torch.package.PackageImporter": set(),
    "torch.serialization.load": set(),
    "detectron2.checkpoint.DetectionCheckpointer": set(),
    "detectron2.config.LazyConfig.load": {"ffc_dense/detection/inputs/lazy.py"},
    "runpy.run_path": {"ffc_dense/openmmlab/commands/scripts.py"},  # mmseg's own train.py and test.py
    "runpy.run_module": set(),
}
ALLOWED = {(name, file) for name, files in RUNS.items() for file in files}


def full_names(tree):
    """{name in a file: what it was imported as}."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                found[alias.asname or first] = alias.name if alias.asname else first
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in node.names}
    return found


def full_name(node, names):
    first, dot, rest = ast.unparse(node).partition(".")
    return names.get(first, first) + dot + rest


def calls(text):
    """(full name, keywords) of every call in a source text, and of every base class, which has no keywords.

    Behind ``SafeLoading``, which replaces its reading, a checkpointer may be a base.
    """
    tree = ast.parse(text)
    names = full_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield full_name(node.func, names), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if isinstance(node, ast.ClassDef):
            bases = [full_name(base, names) for base in node.bases]
            safe = bases and re.fullmatch(r"(.*\.safe_loading\.)?SafeLoading", bases[0])
            yield from ((base, {}) for base in ([] if safe else bases))


def runs(text, name):
    """What of a source text, in file ``name``, runs the files that it reads and is not meant to."""
    for called, keywords in calls(text):
        unsafe = called in RUNS and name not in RUNS[called]
        unsafe |= called == "torch.load" and keywords.get("weights_only") != "True"
        unsafe |= called == "numpy.load" and keywords.get("allow_pickle", "False") != "False"
        unsafe |= called == "yaml.load" and name != YAML
        unsafe |= called.endswith(".merge_from_file") and keywords.get("allow_unsafe") != "False"
        if unsafe:
            yield called


def sources():
    """{path from the root: text}."""
    paths = [path for folder in ("ffc_dense", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def test_only_what_security_md_names_runs_files():
    found = {name: list(runs(text, name)) for name, text in sources().items()}
    assert len(found) > 100 and not {name: called for name, called in found.items() if called}


def test_what_is_allowed_is_there_and_torch_load_reads_weights_only():
    """Otherwise the test above has lost sight of it."""
    called = [(called, name) for name, text in sources().items() for called, _ in calls(text)]
    assert set(called) >= ALLOWED | {("yaml.load", YAML)}
    assert sum(name == "torch.load" for name, _ in called) >= 4


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.load(f)",
        "import pickle as p\np.loads(b)",
        "from pickle import load\nload(f)",
        "from pickle import load as read\ndef f():\n    return read(x)",
        "import pickle\npickle.Unpickler(f).load()",
        "import pickle\nclass U(pickle.Unpickler): pass",
        "import torch\ntorch.load(f)",
        "import torch\ntorch.load(f, weights_only=False)",
        "from torch import load\nload(f)",
        "import torch.jit\ntorch.jit.load(f)",
        "from torch import jit\njit.load(f)",
        "import torch\ntorch.export.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import numpy\nnumpy.load(f, allow_pickle=flag)",
        "import marshal\nmarshal.loads(b)",
        "import joblib\njoblib.load(f)",
        "import yaml\nyaml.load(f, yaml.Loader)",
        "from yaml import load_all\nload_all(f)",
        "from runpy import run_path\nrun_path(f)",
        "from detectron2.checkpoint import DetectionCheckpointer\nDetectionCheckpointer(m)",
        "from detectron2.checkpoint import DetectionCheckpointer as D\nclass C(D): pass",
        "from detectron2.checkpoint import DetectionCheckpointer as D\nclass C(D, SafeLoading): pass",
        "from detectron2.config import LazyConfig\nLazyConfig.load(f)",
        "cfg.merge_from_file(f)",
        "cfg.merge_from_file(f, allow_unsafe=True)",
        "def f():\n    import pickle\n    pickle.load(g)",
        "eval(text)",
    ],
)
def test_a_reader_that_runs_files_is_seen_however_it_is_imported(text):
    assert list(runs(text, "tools/new.py"))


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(f, weights_only=True)",
        "import numpy as np\nnp.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=False)",
        "import yaml\nyaml.safe_load(f)",
        "import json\njson.load(f)",
        "import pickle\nraise pickle.UnpicklingError",
        "model.eval()",
        "from detectron2.checkpoint import DetectionCheckpointer as D\nclass C(SafeLoading, D): pass",
        "cfg.merge_from_file(f, allow_unsafe=False)",
    ],
)
def test_a_reader_that_runs_nothing_is_no_finding(text):
    assert not list(runs(text, "tools/new.py"))


def imports(text):
    """Full names of what a source text imports; relative ones as they are written."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module.rstrip('.')}.{alias.name}" for alias in node.names)


def test_whoever_reads_mmengine_s_configs_makes_its_readers_safe_first():
    read = {name for name, text in sources().items() for called, _ in calls(text) if called.endswith("Config.fromfile")}
    assert "ffc_dense/openmmlab/inputs/read_config.py" in read
    for name in read:
        assert {"ffc_dense.openmmlab.inputs.safe_loading", ".safe_loading"} & set(imports(sources()[name])), name


def test_the_tools_read_mmengine_s_configs_where_that_is_safe():
    reader = re.compile(r"(ffc_dense|\.+)\.?openmmlab\.inputs\.read_config\b")
    through = [name for name, text in sources().items() if any(map(reader.match, imports(text)))]
    assert len(through) >= 6


def test_security_md_names_the_places():
    text = (ROOT / "SECURITY.md").read_text()
    for word in ("lazyconfig_train_net.py", "mmseg_tool.py", "--weights-only", "custom_imports", "sha256", "2.6"):
        assert word in text
    for path in re.findall(r"`((?:tools|ffc_dense|tests|docs)/[\w/.*]+)`", text):
        assert list(ROOT.glob(path)), path
