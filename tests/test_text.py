import json

import pytest

from ffc_dense import text


def test_a_table_is_markdown():
    assert text.table(["a", "b"], [["1", "2"], ["3", ""]]) == "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |  |"


def test_json_has_null_for_nan_at_any_depth_and_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "a.json"
    text.write_json({"a": [1.5, float("nan"), {"b": float("nan")}], "c": (1, float("nan"))}, path)
    assert json.loads(path.read_text()) == {"a": [1.5, None, {"b": None}], "c": [1, None]}
    with pytest.raises(TypeError):
        text.write_json({"a": object()}, path)
    assert json.loads(path.read_text())["c"] == [1, None] and list(tmp_path.iterdir()) == [path]
