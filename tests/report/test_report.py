"""``tools/report.py``: what the page says, that it is self-contained, and that nothing from a file becomes HTML."""

import base64
import io
import json
import os
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from report_runs import HOSTILE, analysis, pair
from run_folders import detectron2_run, mmengine_run
from tools_in_process import run_tool, tool

from ffc_dense.paper import read_runs
from ffc_dense.report.chart import LEFT, Series, chart, ticks
from ffc_dense.report.markup import Markup, tag
from ffc_dense.report.subjects import collect
from ffc_dense.runs import analyses, logs


class Page(HTMLParser):
    """Elements as (name, attributes), the text of each table row, and all text outside of script and style."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.rows, self.text, self.inside = [], [], "", []
        self.feed(html)

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self.inside.append(name)
        if name == "tr":
            self.rows.append([])
        elif name in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, name):
        while self.inside and self.inside.pop() != name:
            pass

    def handle_data(self, data):
        if "script" in self.inside or "style" in self.inside:
            return
        self.text += data
        if "td" in self.inside or "th" in self.inside:
            self.rows[-1][-1] += data

    def all(self, name, **wanted):
        wanted = {key.rstrip("_"): value for key, value in wanted.items()}
        return [found for kind, found in self.elements
                if kind == name and all(found.get(key) == value for key, value in wanted.items())]  # fmt: skip


def report(tmp_path, *args):
    output = tmp_path / "page.html"
    code, out, err = run_tool("report", *args, "--output", output)
    assert code == 0, err
    assert f"{output.name} (" in out
    return output.read_text()


def failed(*args):
    code, out, err = run_tool("report", *args)
    assert code == 2 and out == "" and "Traceback" not in err
    assert err.startswith("report.py: error: ") and len(err.strip().splitlines()) == 1, err
    return err


@pytest.fixture(scope="module")
def detection(tmp_path_factory):
    root = tmp_path_factory.mktemp("detection")
    pair(root)
    return root, report(root, root)


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory):
    root = tmp_path_factory.mktemp("segmentation")
    stock, ffc = pair(root, detection=False)
    return root, report(root, ffc, "--stock", stock)


def test_scores_stand_beside_those_of_the_stock_twin(detection):
    rows = {tuple(row[:3]): row[3:9] for row in Page(detection[1]).rows if len(row) == 14}
    assert rows["stock", "stock", "-"] == ["46.10", "28.10", "27.10", "-", "-", "-"]
    assert rows["ffc", "FFC", "vote"] == ["46.90", "28.90", "27.90", "+0.80", "+0.80", "+0.80"]
    assert rows["ffc", "FFC", "mean"] == ["46.50", "28.50", "27.50", "+0.40", "+0.40", "+0.40"]


def test_a_segmentor_and_its_stock_twin_given_by_name_are_one_group(segmentation):
    page = Page(segmentation[1])
    assert len(page.all("section")) == 1 and "differ in more than FFC" not in page.text
    rows = {row[0]: row[3:7] for row in page.rows if len(row) == 14 and row[0] != "run"}
    assert rows["stock"][0] == "78.30" and rows["ffc"][0] == "78.80" and rows["ffc"][3] == "+0.50"


def test_curves_are_those_of_the_logs(detection):
    charts = {json.dumps(sorted(line["label"] for line in series)): series
              for chart in Page(detection[1]).all("svg", class_="chart")
              for series in [json.loads(chart["data-series"])] if "loss_cls" in chart["aria-label"]}  # fmt: skip
    assert charts == {'["FFC"]': [{"label": "FFC", "points": [[40, 1.0], [80, 1.0]]}]}
    (total,) = [json.loads(chart["data-series"]) for chart in Page(detection[1]).all("svg", class_="chart")
                if chart["aria-label"].startswith("total_loss")]  # fmt: skip
    points = {line["label"]: [x for x, _ in line["points"]] for line in total}
    assert points == {"stock": [20, 490_000], "FFC": [20, 40, 80, 490_000]}


def test_every_number_of_the_analysis_is_in_the_table(detection):
    names = [row[0] for row in Page(detection[1]).rows if len(row) == 11]
    assert names == ["output", *(f"out{i}" for i in range(1, 8)), "mean", "vote"]


@pytest.mark.parametrize("framework", ["detection", "segmentation"])
def test_the_page_fetches_nothing(framework, request):
    _, html = request.getfixturevalue(framework)
    page = Page(html)
    for _, attributes in page.elements:
        for key in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
            assert attributes.get(key, "#").startswith(("#", "data:image/")), attributes
        assert "style" not in attributes and not any(key.startswith("on") for key in attributes)
    assert "url(" not in html and "@import" not in html and not page.all("link") and not page.all("iframe")
    assert all("src" not in script for script in page.all("script"))
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; img-src data:; style-src 'sha256-")


@pytest.mark.parametrize("framework", ["detection", "segmentation"])
def test_every_picture_has_a_text(framework, request):
    page = Page(request.getfixturevalue(framework)[1])
    assert page.all("img") and all(len(each["alt"]) > 20 for each in page.all("img"))
    pictures = page.all("svg", class_="panel") + page.all("svg", class_="chart")
    assert pictures and all(each["role"] == "img" and each["aria-label"] for each in pictures)
    assert all(button.get("aria-label") for button in page.all("button", class_="open"))


def test_images_come_once_and_small(detection):
    photos = [each for each in Page(detection[1]).all("image") if each["href"].startswith("data:image/jpeg")]
    assert len(photos) == len({each["id"] for each in photos}) == 3
    used = [each["href"] for each in Page(detection[1]).all("use")]
    assert len(used) == 9 and set(used) == {f"#{each['id']}" for each in photos}


def test_changes_of_a_label_map_are_painted_fixed_and_broken(segmentation):
    layers = [each["href"] for each in Page(segmentation[1]).all("image", class_="changes")]
    content = base64.b64decode(layers[0].partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        painted = np.array(image.convert("RGBA"))
    expected = np.zeros((30, 40, 4), np.uint8)
    expected[:5, 3:] = (0, 114, 178, 255)
    expected[20:, 3:] = (213, 94, 0, 255)
    assert (painted[..., 3] == expected[..., 3]).all()
    assert (painted[painted[..., 3] > 0] == expected[painted[..., 3] > 0]).all()


@pytest.mark.parametrize(("most", "shown"), [(0, 0), (2, 2), (50, 3)])
def test_at_most_max_images_are_shown(detection, tmp_path, most, shown):
    page = Page(report(tmp_path, detection[0], "--max-images", most))
    assert len(page.all("li", class_="card")) == shown


def test_large_photographs_are_made_small(tmp_path):
    stock, ffc = pair(tmp_path / "runs")
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    Image.fromarray(noise).save(ffc / "analysis_model_final" / "image0.jpg", quality=95)
    assert (ffc / "analysis_model_final" / "image0.jpg").stat().st_size > 3e6
    assert len(report(tmp_path, stock, ffc)) < 1.2e6


def test_no_string_of_a_file_becomes_html(tmp_path):
    stock, ffc = pair(tmp_path / "runs")
    path = ffc / "analysis_model_final" / "analysis.json"
    content = json.loads(path.read_text())
    content |= {"decision": HOSTILE, "weights": HOSTILE, "classes": [HOSTILE]}
    content["outputs"][0] |= {"name": HOSTILE, "feature": HOSTILE}
    for entry in content["gallery"]["fixed"]:
        entry["image"] = HOSTILE
        entry["boxes"][0] |= {"before": HOSTILE, "after": HOSTILE, "truth": HOSTILE}
    path.write_text(json.dumps(content))
    log = ffc / "metrics.json"
    log.write_text(json.dumps({"iteration": 9, f"loss_{HOSTILE.replace('/', '')}": 1.0}) + "\n" + log.read_text())
    html = report(tmp_path, ffc, "--stock", stock)
    page = Page(html)
    assert len(page.all("script")) == 1 and "document.title" in page.text
    assert not [each for each in page.all("img") if "onerror" in each or each["src"] == "x"]


def test_a_run_without_analysis_gets_the_command_that_makes_it(tmp_path):
    run = detectron2_run(tmp_path / "ffc", ffc=True)
    assert "holds no checkpoint to analyse: trained, not evaluated" in report(tmp_path, run)
    (run / "model_final.pth").write_bytes(b"no checkpoint")
    assert "names no test set" in report(tmp_path, run)
    (run / "eval").mkdir()
    (run / "eval" / "config.yaml").write_text("{}")
    evaluated = {"weights": str(run / "model_final.pth"), "reduction": "vote", "dataset": "coco_2017_val"}
    (run / "eval" / "results.json").write_text(json.dumps({"bbox": {}, "evaluated": evaluated}))
    text = Page(report(tmp_path, run)).text
    assert "tools/analyze_outputs.py" in text and "coco_2017_val" in text and "No stock twin" in text
    (subject,) = read_runs([run])
    assert analyses.command(subject)[2:] == ["DATASETS.TEST", "('coco_2017_val',)"]


def test_the_latest_checkpoint_of_a_segmentor_is_the_one_to_analyse(tmp_path):
    run = mmengine_run(tmp_path / "ffc", ffc=True)
    for step in (4000, 40000, 8000):
        (run / f"iter_{step}.pth").write_bytes(b"")
    (subject,) = read_runs([run])
    assert analyses.command(subject)[1] == str(run / "iter_40000.pth")
    for step in (40000, 8000):
        analysis(run / f"analysis_iter_{step}", detection=False)
    assert analyses.find(subject).folder.name == "analysis_iter_40000"


def at(path, seconds):
    """Give a file this time of its last change."""
    os.utime(path, (seconds, seconds))


def test_an_analysis_that_is_older_than_the_checkpoint_is_shown_with_a_warning(tmp_path):
    stock, ffc = pair(tmp_path / "runs", detection=False)
    (ffc / "iter_40000.pth").write_bytes(b"no checkpoint")
    at(ffc / "iter_40000.pth", 1000)
    at(ffc / "analysis_model_final" / "analysis.json", 1000)
    told = "This analysis is older than iter_40000.pth, so it may be of other weights"
    page = Page(report(tmp_path, stock, ffc))
    assert told not in page.text and "analyze_outputs.py" not in page.text
    at(ffc / "iter_40000.pth", 1001)
    page = Page(report(tmp_path, stock, ffc))
    assert told in page.text and "This command, or --analyze, analyses the last checkpoint" in page.text
    assert [row[0] for row in page.rows if len(row) == 11][-1] == "vote"  # and it is shown
    again = analysis(ffc / "analysis_iter_8000", detection=False)
    at(again / "analysis.json", 1002)
    page = Page(report(tmp_path, stock, ffc))
    assert told not in page.text and "Not shown: analysis_model_final" in page.text


def test_analyze_makes_the_missing_and_the_outdated_analyses_and_reads_nothing_else_again(tmp_path, monkeypatch):
    runs = {name: mmengine_run(tmp_path / name, ffc=True, seed=seed) for seed, name in enumerate(("no", "old", "new"))}
    for run in runs.values():
        (run / "iter_40000.pth").write_bytes(b"no checkpoint")
        at(run / "iter_40000.pth", 1000)
    for name, seconds in (("old", 999), ("new", 1001)):
        at(analysis(runs[name] / "analysis_iter_40000", detection=False) / "analysis.json", seconds)
    # In the place of the analysis, which inspection/test_analyze.py runs: a program that leaves its files.
    program = tmp_path / "program.py"
    program.write_text(
        "import pathlib, shutil, sys\n"
        "folder = pathlib.Path(sys.argv[2]).parent\n"
        f"shutil.copytree({str(runs['new'] / 'analysis_iter_40000')!r}, folder / 'analysis_iter_40000',\n"
        "                dirs_exist_ok=True, copy_function=shutil.copyfile)\n"
    )
    module, collected = tool("report"), []
    monkeypatch.setattr(module, "ANALYZE", [program])
    monkeypatch.setattr(module, "collect", lambda *folders: collected.append(folders) or collect(*folders))
    code, _, err = run_tool("report", *runs.values(), "--analyze", "--output", tmp_path / "page.html")
    assert code == 0, err
    assert err.splitlines() == [f"analysing {runs[name]}" for name in ("no", "old")]
    page = Page((tmp_path / "page.html").read_text())
    assert sum(row[0] == "vote" for row in page.rows if len(row) == 11) == 3
    assert "is older than" not in page.text and "Not analysed yet" not in page.text and len(collected) == 1


def test_a_stock_run_of_other_settings_is_shown_with_a_warning(tmp_path):
    stock = detectron2_run(tmp_path / "stock", ap=27.0, MASK_ON=True)
    ffc = detectron2_run(tmp_path / "ffc", ffc=True, ap=28.0)
    page = Page(report(tmp_path, ffc, "--stock", stock))
    assert "differ in more than FFC" in page.text
    assert [row[5:9] for row in page.rows if row[:2] == ["ffc", "FFC"]] == [["28.00", "+1.00", "+1.00", "+1.00"]]


def test_lines_that_a_resumed_training_wrote_again_replace_the_old_ones(tmp_path):
    run = detectron2_run(tmp_path / "run", ffc=True)
    lines = [(19, 3.0), (39, 2.0), (59, 9.0), (39, 2.5), (59, 1.0)]
    text = "".join(json.dumps({"iteration": i, "total_loss": loss, "time": 0.5}) + "\n" for i, loss in lines)
    (run / "metrics.json").write_text(text + '{"iteration": 79, "total_loss": NaN}\n{"iter')
    log = logs.entries(*read_runs([run]))
    assert logs.curves(log)["total_loss"] == [(20, 3.0), (40, 2.5), (60, 1.0)]
    assert logs.training_seconds(log) == 80 * 0.5


def test_long_curves_become_means_and_keep_their_end():
    points = [(float(i), float(i % 2)) for i in range(24_501)]
    thinned = logs.thin(points, 300)
    assert 200 < len(thinned) <= 300 and thinned[-1] == points[-1]
    assert all(0.4 < y < 0.6 for _, y in thinned[:-2])
    assert logs.thin(points[:300], 300) == points[:300]


@pytest.mark.parametrize(("low", "high"), [(0, 0), (5, 5), (0, 1e-9), (0, 1), (57.4, 58.9), (-3, 4e7)])
def test_ticks_are_round_and_cover_the_values(low, high):
    found = ticks(low, high)
    assert found[0] <= low + 1e-12 and found[-1] >= high - 1e-12 and 2 <= len(found) <= 8


@pytest.mark.parametrize("value", [0.0, 2.5, -1e30])
def test_a_line_that_has_iteration_0_alone_is_a_mark_at_the_left_edge(value):
    page = Page(chart("loss", [Series("FFC", [(0.0, value)], 0)]))
    (mark,) = page.all("circle")
    assert float(mark["cx"]) == LEFT and not page.all("polyline")
    assert [each["x"] for each in page.all("text", class_="tick middle")][:-1] == [str(float(LEFT))]


def test_markup_escapes_text_and_attributes_and_nothing_twice():
    inner = tag("b", "<&>")
    assert inner == Markup("<b>&lt;&amp;&gt;</b>")
    assert tag("p", inner, [None, 3], class_='"', hidden=True, title=None) == (
        '<p class="&quot;" hidden><b>&lt;&amp;&gt;</b>3</p>'
    )


def test_what_is_missing_or_malformed_is_a_line_and_exit_code_2(tmp_path):
    assert "is no folder" in failed(tmp_path / "absent")
    assert "holds no run" in failed(tmp_path)
    run = detectron2_run(tmp_path / "ffc", ffc=True)
    assert "expected a model without FFC" in failed(tmp_path / "ffc", "--stock", run)
    stock = detectron2_run(tmp_path / "stock", ap=27.0)
    assert "--max-images" in failed(run, "--max-images", -1)
    segmentor = mmengine_run(tmp_path / "pspnet")
    assert "no FFC run of mmseg" in failed(run, "--stock", segmentor)
    assert "cannot be written" in failed(run, "--output", stock / "log.txt" / "page.html")
    assert "holds no checkpoint to analyse" in failed(run, "--analyze")
    path = analysis(run / "analysis_model_final") / "analysis.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "outputs"}))
    assert "analysis.json lacks outputs" in failed(run)
    path.write_text("{")
    assert "analysis.json is no valid JSON" in failed(run)
    content["gallery"]["fixed"][0].pop("boxes")
    path.write_text(json.dumps(content))
    assert "the gallery lacks" in failed(run)


def test_a_label_map_outside_of_the_analysis_is_not_read(tmp_path):
    run = mmengine_run(tmp_path / "ffc", ffc=True)
    path = analysis(run / "analysis_iter_40000", detection=False) / "analysis.json"
    content = json.loads(path.read_text())
    content["gallery"]["fixed"][0]["label_maps"]["vote"] = "../../../secret.png"
    path.write_text(json.dumps(content))
    assert "is outside of the analysis" in failed(run)


def test_an_image_that_is_gone_leaves_its_boxes(tmp_path):
    stock, ffc = pair(tmp_path / "runs")
    (ffc / "analysis_model_final" / "image0.jpg").unlink()
    (ffc / "analysis_model_final" / "image1.jpg").write_bytes(b"no image")
    page = Page(report(tmp_path, stock, ffc))
    assert page.text.count("The image is not there any more") == 2
    assert len(page.all("svg", class_="panel")) == 9


def test_a_folder_of_runs_stands_for_its_runs(detection):
    root, _ = detection
    assert [subject.name for group in collect([root]) for subject in group.subjects] == ["stock", "ffc"]
