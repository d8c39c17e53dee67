"""Stock configs with !!python tags are read as data: the value that Python would give, or a refusal."""

import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("detectron2")

from detectron2 import model_zoo
from detectron2.config import get_cfg

from ffc_dense.detection import add_ffc_config
from ffc_dense.detection.inputs.data_files import merge_config_file
from ffc_dense.detection.inputs.plain_yaml import calculated, load_plain
from ffc_dense.detection.inputs.read_config import read_config
from ffc_dense.safe_files import UnsafeFileError

STOCK = Path(model_zoo.get_config_file("COCO-Detection/retinanet_R_50_FPN_1x.yaml")).parent.parent


@pytest.mark.parametrize("path", sorted(STOCK.glob("COCO-*/*.yaml")) + sorted(STOCK.glob("*/retinanet*.yaml")))
def test_every_stock_coco_config_is_read_as_detectron2_reads_it(path):
    ours, theirs = get_cfg(), get_cfg()
    merge_config_file(ours, str(path))
    theirs.merge_from_file(str(path), allow_unsafe=True)
    assert ours == theirs
    add_ffc_config(theirs)
    assert read_config(str(path), [], ()) == theirs


@pytest.mark.parametrize(
    "text",
    [
        "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]",
        "[1, -2, +3.5, 7 // 2, 7 % 4, 7 / 2]",
        "(1, 'a', None, True)",
        "[[(x, y) for y in (1, 2)] for x in [3, 4]]",
    ],
)
def test_arithmetic_has_pythons_value(text):
    assert calculated(text) == eval(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()", "().__class__", "open('/etc/passwd')", "x", "lambda: 1", "[x for x in range(3)]",
        "9**9**9**9", "2**10000", "'a' * 10**9", "[0] * 10**9", "1/0", "(-8)**0.5", "{1: 2}", "f'{1}'",
        "[x for x in [1] if 1]",
        "1 if 1 else 2", "", "[1][0]", "(" * 300 + ")" * 300,
    ],
)  # fmt: skip
def test_everything_else_is_refused(text):
    with pytest.raises(ValueError):
        calculated(text)


def test_what_would_take_forever_is_refused_soon():
    text = "0"
    for name in "abcdefgh":
        text = f"[{text} for {name} in [{', '.join('1' * 100)}]]"
    began = time.monotonic()
    with pytest.raises(ValueError, match="more than 100,000 steps"):
        calculated(text)
    assert time.monotonic() - began < 5


def test_tuples_and_plain_types_are_read_and_objects_are_not(tmp_path):
    text = "a: !!python/tuple [1, !!python/tuple [2]]\nb: !!python/str 3\nc: !!python/float 1\nd: !!python/none\n"
    assert load_plain(text) == {"a": (1, (2,)), "b": "3", "c": 1.0, "d": None} == yaml.unsafe_load(text)
    for tag in ("object/apply:os.getcwd []", "object/new:dict []", "name:os.system", "module:os",
                "object/apply:eval [1, 2]",
                'object/apply:eval ["open(1)"]', "object/apply:builtins.eval ['1']"):  # fmt: skip
        (tmp_path / "a.yaml").write_text(f"OUTPUT_DIR: !!python/{tag}\n")
        with pytest.raises(UnsafeFileError, match="line 1"):
            merge_config_file(get_cfg(), str(tmp_path / "a.yaml"))
