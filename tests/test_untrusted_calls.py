"""No file of the package or the tools calls a reader that runs what it reads, but those that SECURITY.md names."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = {  # calls that run what they read, and where each is meant to
    "eval": set(),
    "exec": set(),
    "pickle.load": set(),
    "pickle.loads": set(),
    "yaml.unsafe_load": set(),
    "yaml.full_load": set(),
    "DetectionCheckpointer": set(),
    "runpy.run_path": {"tools/mmseg_tool.py"},  # mmseg's own train.py and test.py
    "LazyConfig.load": {"tools/lazyconfig_train_net.py"},
}


def calls(path):
    """(called name, keywords) of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


def sources():
    return [path for folder in ("ffc_dense", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_only_what_security_md_names_runs_files():
    read = 0
    for path in sources():
        name = str(path.relative_to(ROOT))
        for called, keywords in calls(path):
            assert called not in RUNS or name in RUNS[called], f"{name} calls {called}"
            if called == "torch.load":
                assert keywords.get("weights_only") == "True", name
                read += 1
            if called.endswith(".merge_from_file"):
                assert keywords.get("allow_unsafe") == "False", name
            if called == "yaml.load":
                assert name == "ffc_dense/safe_files/yaml_files.py"
    assert read >= 4


def test_whoever_reads_mmengine_s_configs_makes_its_readers_safe_first():
    for path in sources():
        if any(called == "Config.fromfile" for called, _ in calls(path)):
            assert "safe_loading" in path.read_text(), path.name


def test_security_md_names_the_places():
    text = (ROOT / "SECURITY.md").read_text()
    for word in ("lazyconfig_train_net.py", "mmseg_tool.py", "--weights-only", "custom_imports", "sha256", "2.6"):
        assert word in text
    for path in re.findall(r"`((?:tools|ffc_dense|tests|docs)/[\w/.*]+)`", text):
        assert list(ROOT.glob(path)), path
