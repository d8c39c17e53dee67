"""tools/overhead.py against counts by hand, and the tables of docs/reference/model-zoo.md."""

import importlib.util
import json
import re

import pytest

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

from repository import ROOT

CONFIGS = ROOT / "configs"
FASTER = CONFIGS / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
CASCADE = CONFIGS / "mini_coco" / "cascade_rcnn_R_18_FPN_ffc.yaml"
PSPNET = CONFIGS / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
NUM_FILTERS = 3


@pytest.fixture(scope="module")
def overhead():
    from ffc_dense.cli import overhead

    return overhead


@pytest.fixture(scope="module")
def model_zoo():
    """The script tools/model_zoo.py, which writes a page of the repository and belongs to no wheel."""
    spec = importlib.util.spec_from_file_location("model_zoo", ROOT / "tools" / "model_zoo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def counted(overhead):
    """{FFC config: (stock, FFC)} of three mini configs."""
    count = overhead.Counter()
    return {ffc: (count(overhead.baseline_of(ffc)), count(ffc)) for ffc in (FASTER, CASCADE, PSPNET)}


# rows: boxes or positions that are classified; C; K, the background included; classifiers
BY_HAND = [(FASTER, 200, 256, 11, 1), (CASCADE, 200, 256, 11, 3), (PSPNET, 16 * 16, 64, 19, 1)]


@pytest.mark.parametrize(("path", "rows", "features", "classes", "classifiers"), BY_HAND)
def test_counts_equal_those_by_hand(counted, overhead, path, rows, features, classes, classifiers):
    stock, ffc = counted[path]
    product, norms = rows * features * classes, NUM_FILTERS * 5 * rows * features
    assert ffc["parameters"] - stock["parameters"] == classifiers * 2 * features * NUM_FILTERS
    assert ffc["flops"] - stock["flops"] == classifiers * (NUM_FILTERS * product + norms)
    assert ffc["flops_train"] - stock["flops_train"] == classifiers * norms
    assert stock["flops_train"] == stock["flops"]
    assert len(ffc["classifiers"]) == len(stock["classifiers"]) == classifiers
    for layer in stock["classifiers"]:
        # A 1x1 convolution and a linear layer; the bias is not counted by either framework.
        assert layer["flops_test"] == product and (layer["features"], layer["classes"]) == (features, classes)
    for layer in ffc["classifiers"]:
        assert layer["flops_test"] == (NUM_FILTERS + 1) * product + norms
        assert layer["flops_train"] == product + norms
    overhead.check(stock, ffc)


def test_a_pair_that_differs_in_more_than_ffc_is_refused(counted, overhead):
    stock, ffc = counted[FASTER]
    with pytest.raises(RuntimeError, match=r"2 \* C \* num_filters is 1,536"):
        overhead.check(stock, {**ffc, "parameters": ffc["parameters"] + 1})


def test_paper_figures_arise_from_2048_features_and_1000_classes(overhead):
    case = overhead.paper_case()
    assert case["stock"] == 2048 * 1000
    assert case["ffc"]["flops_test"] == 4 * 2048 * 1000 + 3 * 5 * 2048
    assert case["ffc"]["flops_train"] == 2048 * 1000 + 3 * 5 * 2048
    note = overhead.paper_note(case)
    assert "12,288" in note and "14,336,000" in note


def test_every_ffc_config_has_a_pair(overhead):
    pairs = overhead.find_pairs(CONFIGS)
    assert {ffc for _, ffc in pairs} == {*CONFIGS.glob("*/*_ffc.yaml"), *CONFIGS.glob("*/*-ffc_*.py")}
    assert all(stock.is_file() and stock != ffc for stock, ffc in pairs)
    assert [ffc for _, ffc in overhead.find_pairs(CONFIGS, "mini_coco/faster")] == [FASTER]


def test_every_other_config_is_counted_alone(overhead, model_zoo):
    pairs, singles = overhead.find_pairs(CONFIGS), overhead.find_singles(CONFIGS)
    paired = {path for pair in pairs for path in pair}
    lazy = {path for path in model_zoo.configs() if path.suffix == ".py" and path.parent.name == "coco"}
    assert {*singles} == {*model_zoo.configs()} - paired - lazy and len(singles) == len({*singles}) == 4


def test_the_paper_s_gflops_are_those_of_a_stride_in_the_1x1_convolution(committed, model_zoo):
    rows = json.loads(model_zoo.OVERHEAD.read_text())["strides"]
    assert len(rows) == 6
    for row in rows:  # but for SE and SRM, whose own operations the paper counts in part
        assert row["1x1"] / 1e9 == pytest.approx(row["paper"], abs=0.025) and row["3x3"] - row["1x1"] > 2e8
    resnet = next(row for row in rows if "/resnet50_" in row["config"])
    assert (resnet["3x3"], resnet["1x1"]) == (4_089_184_256, 3_857_973_248)


def test_missing_twins_and_patterns_without_a_match_are_errors(overhead, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no FFC config .* matches 'nonsense'"):
        overhead.find_pairs(CONFIGS, "nonsense")
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "x_ffc.yaml").touch()
    with pytest.raises(FileNotFoundError, match=r"x_ffc\.yaml has no baseline config"):
        overhead.find_pairs(tmp_path)


def test_command_writes_what_it_counted_and_reuses_it(overhead, counted, tmp_path, capsys, monkeypatch):
    written = tmp_path / "overhead.json"
    overhead.main(["--only", "mini_coco/faster", "--json", str(written)])
    table = capsys.readouterr().out
    assert "| faster_rcnn_R_18_FPN_ffc | 120x160 |" in table and "| 1,536 |" in table
    (pair,) = json.loads(written.read_text())["pairs"]
    assert (pair["stock"], pair["ffc"]) == counted[FASTER]
    from ffc_dense.detection.commands import overhead as overhead_detection

    monkeypatch.setattr(overhead_detection, "count", lambda path: pytest.fail("counted again"))
    overhead.main(["--only", "mini_coco/faster", "--reuse", str(written)])
    assert capsys.readouterr().out.splitlines()[:3] == table.splitlines()[:3]


@pytest.fixture(scope="module")
def committed(model_zoo):
    pairs = json.loads(model_zoo.OVERHEAD.read_text())["pairs"]
    singles = json.loads(model_zoo.OVERHEAD.read_text())["singles"]
    return {
        side["config"]: side for pair in [*({"single": each} for each in singles), *pairs] for side in pair.values()
    }


def test_committed_counts_are_those_of_today(committed, counted):
    """A recount of the mini models; the others cost minutes each."""
    for path, (stock, ffc) in counted.items():
        for side in (stock, ffc):
            assert committed[side["config"]] == side, f"{path}: run tools/overhead.py --json docs/overhead.json"


def test_committed_counts_belong_to_the_models_of_today(committed, overhead):
    """No config changed its model, its input or its schedule since it was counted."""

    from ffc_dense.frameworks import recognise

    for config, side in committed.items():
        module = importlib.import_module(f"{recognise(ROOT / config)[0].adapter}.commands.overhead")
        content, size = module.resolved(str(ROOT / config))
        assert overhead.key_of(content) == side["key"], f"{config}: run tools/overhead.py --reuse"
        assert size == side["input"]
        assert module.schedule(str(ROOT / config)).items() <= side.items()


def test_model_zoo_has_a_row_for_every_config(model_zoo):
    text = model_zoo.DOCUMENT.read_text()
    linked = re.findall(r"^\| \[.*?\]\(\.\./\.\./(configs/.*?)\)", text, re.MULTILINE)
    assert sorted(linked) == sorted(str(path.relative_to(ROOT)) for path in model_zoo.configs())
    assert len(linked) >= 84


def test_links_of_the_model_zoo_exist(model_zoo):
    text = model_zoo.DOCUMENT.read_text()
    targets = {target.split("#")[0] for target in re.findall(r"\]\((?!https?:)(.*?)\)", text)}
    assert len(targets) > 60
    assert [target for target in targets if not (model_zoo.DOCUMENT.parent / target).exists()] == []


def test_model_zoo_is_what_its_tool_writes(model_zoo):
    assert model_zoo.main(["--check"]) == 0, "run python tools/model_zoo.py"


def test_scores_take_the_place_of_gpu_hours(model_zoo):
    path = CONFIGS / "coco" / "faster_rcnn_R_50_FPN_1x_ffc.yaml"
    counts = {str(path.relative_to(ROOT)): {
        "config": str(path.relative_to(ROOT)), "iterations": 90000, "images_per_iteration": 16, "input": "800x1333",
        "parameters": 41_000_000, "flops": 2e11,
    }}  # fmt: skip
    # 90,000 iterations of 0.210 s on 8 GPUs
    assert f"not trained: about {90000 * 0.21 * 8 / 3600:.0f} GPU-hours | 8" in " | ".join(
        model_zoo.row(path, counts, [])
    )
    results = [{"config": "faster_rcnn_R_50_FPN_1x", "results": [
        {"variant": variant, "reduction": reduction, "metric": metric, "n": 3, "mean": mean}
        for variant, reduction, metric, mean in (
            ("stock", "stock", "AP", 37.9), ("FFC", "vote", "AP50", 58.93), ("FFC", "vote", "AP", 38.04),
            ("FFC", "mean", "AP", 10.0))
    ]}]  # fmt: skip
    assert "| 58.9 / 38.0 (n = 3) | 8" in " | ".join(model_zoo.row(path, counts, results))
    with pytest.raises(ValueError, match="was not counted"):
        model_zoo.row(path, {}, [])


def test_a_missing_marker_is_an_error(model_zoo):
    with pytest.raises(ValueError, match="<!-- imagenet -->"):
        model_zoo.fill("no markers", json.loads(model_zoo.OVERHEAD.read_text()), [])
