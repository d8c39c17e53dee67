"""Who may import whom: no circle of modules, each room keeps to its own framework. Read from the import statements."""

import ast
import sys

import pytest
from repository import ROOT

FRAMEWORKS = {"detectron2", "fvcore", "mmseg", "mmengine", "mmcv", "mmpretrain", "torchvision"}
ALLOWED = {  # what of the frameworks each room may import when it is imported
    "detection": {"detectron2", "fvcore", "torchvision"},
    "segmentation": {"mmseg", "mmengine", "mmcv"},
    "classification": {"mmpretrain", "mmengine", "mmcv"},
    "openmmlab": {"mmengine"},
    "video": {"mmpretrain", "mmengine", "mmcv"},
}


def modules():
    """{name: path} of every module of the package."""
    found = {}
    for path in sorted((ROOT / "ffc_dense").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def top_level(tree):
    """The import statements that run with the module: not those in functions, nor of type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Try | ast.With) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test)
        ):
            yield from top_level(node)


def imports(name):
    """The full names that a module imports, submodules of ours by their own name."""
    path, found = MODULES[name], set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in top_level(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = (
            ".".join([*package[: len(package) - node.level + 1], node.module or ""]).strip(".")
            if node.level
            else node.module
        )
        for alias in node.names:
            full = f"{base}.{alias.name}"
            found.add(full if full in MODULES else base)
    return found - {name}


def test_no_module_imports_itself_through_others():
    graph = {name: {other for other in imports(name) if other in MODULES} for name in MODULES}
    done, path = set(), []

    def visit(name):
        if name in path:
            raise AssertionError(" -> ".join([*path[path.index(name) :], name]))
        if name not in done:
            path.append(name)
            for other in sorted(graph[name]):
                visit(other)
            path.pop()
            done.add(name)

    for name in MODULES:
        visit(name)


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_its_own_framework_alone(name):
    room = name.split(".")[1] if "." in name else ""
    foreign = {full.split(".")[0] for full in imports(name)} & FRAMEWORKS
    assert foreign <= ALLOWED.get(room, set())
    rooms = {full.split(".")[1] for full in imports(name) if full.startswith("ffc_dense.")}
    adapters = {"detection", "segmentation", "classification"}
    if room == "video":  # on the engine of the classifiers
        assert not rooms & {"detection", "segmentation"}
    elif room in adapters:
        assert not rooms & adapters - {room} and (room != "detection" or "openmmlab" not in rooms)
    elif room == "openmmlab":
        assert not rooms & adapters
    elif room:
        assert not rooms & {*adapters, "openmmlab"}
    if room == "method":
        assert rooms <= {"method"}
        assert {full.split(".")[0] for full in imports(name)} <= {
            "ffc_dense",
            "torch",
            "triton",
            *ast_standard_library(),
        }


def ast_standard_library():

    return sys.stdlib_module_names
