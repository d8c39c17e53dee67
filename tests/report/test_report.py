"""The report: what the page says, that it is self-contained, and that nothing from a file becomes HTML."""

import base64
import io
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from report_runs import HOSTILE, HOSTILE_FILE, analysis, pair
from repository import ROOT
from run_folders import box_scores, detectron2_run, mmengine_run, reductions
from tools_in_process import run_tool, tool

from ffc_dense.paper import read_runs
from ffc_dense.report.chart import COLOURS, LEFT, Series, chart, styles, ticks
from ffc_dense.report.curves import training_curves
from ffc_dense.report.subjects import collect
from ffc_dense.report.tables import agreement
from ffc_dense.report.verdict import verdict
from ffc_dense.runs import analyses, logs
from ffc_dense.runs.run import CONTROL


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


def test_scores_stand_beside_those_of_the_baseline(detection):
    rows = {tuple(row[:3]): row[3:9] for row in Page(detection[1]).rows if len(row) == 14}
    assert rows["stock", "stock", "-"] == ["46.10", "28.10", "27.10", "-", "-", "-"]
    assert rows["ffc", "FFC", "vote"] == ["46.90", "28.90", "27.90", "+0.80", "+0.80", "+0.80"]
    assert rows["ffc", "FFC", "mean"] == ["46.50", "28.50", "27.50", "+0.40", "+0.40", "+0.40"]


def test_a_segmentor_and_its_baseline_given_by_name_are_one_group(segmentation):
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


def test_no_string_of_a_file_and_no_name_becomes_html(tmp_path):
    stock, ffc = pair(tmp_path / "runs", name=HOSTILE_FILE)
    path = ffc / "analysis_model_final" / "analysis.json"
    content = json.loads(path.read_text())
    content |= {"decision": HOSTILE, "weights": HOSTILE, "classes": [HOSTILE], "dataset": HOSTILE}
    content["class_gain"] = [{"class": HOSTILE, "out1": 1.0, "vote": 2.0, "gain": 1.0}]
    content["outputs"][0] |= {"name": HOSTILE, "feature": HOSTILE}
    for entry in content["gallery"]["fixed"]:
        entry["image"] = HOSTILE_FILE
        entry["boxes"][0] |= {"before": HOSTILE, "after": HOSTILE, "truth": HOSTILE}
    path.write_text(json.dumps(content))
    log = ffc / "metrics.json"
    without_dot = HOSTILE_FILE.replace(".", "")
    lines = [json.dumps({"iteration": i, f"loss_{without_dot}": 1.0}) for i in (3, 9)]
    log.write_text("\n".join([*lines, log.read_text()]))
    page = Page(report(tmp_path, ffc, "--stock", stock))
    assert len(page.all("script")) == 1 and page.text.count(HOSTILE) > 5
    assert not [each for _, each in page.elements if "onerror" in each or each.get("src") == "x"]
    assert any(without_dot in each["aria-label"] for each in page.all("svg", class_="chart"))
    assert f"Enlarge {HOSTILE_FILE}" in [each["aria-label"] for each in page.all("button", class_="open")]
    assert f"What each output decides: {HOSTILE_FILE}" in page.text


def runs_of_seeds(root, stock, ffc):
    """The group of runs with these AP by seed; FFC's are those of the vote."""
    folders = []
    for seed, ap in stock.items():
        folders.append(detectron2_run(root / f"stock{seed}", seed=seed, ap=ap))
    for seed, ap in ffc.items():
        folders.append(detectron2_run(root / f"ffc{seed}", seed=seed, ffc=True))
        reductions(
            folders[-1] / "eval", "detectron2", folders[-1] / "model_final.pth", {"vote": {"bbox": box_scores(ap)}}
        )
    (group,) = collect(folders)
    return group


@pytest.mark.parametrize(
    ("stock", "ffc", "said"),
    [
        ({1: 27.0}, {1: 28.5}, ["28.50 AP, the baseline 27.00 AP: +1.50 AP.", "variation between seeds"]),
        ({1: 27.0}, {2: 28.5}, ["+1.50 AP.", "variation between seeds"]),
        ({1: 27.0, 2: 28.0}, {3: 28.0, 4: 28.0}, ["+0.50 AP.", "Fewer than two seeds in common"]),
        # t(1) of 95 % is 12.706; the differences 1.0 and 1.1 have a standard error of 0.05.
        ({1: 27.0, 2: 27.0}, {1: 28.0, 2: 28.1}, ["(mean of 2 runs)", "+1.05 AP on average over 2 common seeds",
                                                  "[+0.41, +1.69]", "is statistically significant", "p = 0.03"]),
        ({1: 27.0, 2: 27.0}, {1: 28.0, 2: 26.0}, ["+0.00 AP", "[-12.71, +12.71]", "not statistically significant"]),
        ({1: 27.0, 2: 27.0}, {1: 28.0, 2: 28.0}, ["+1.00 AP", "unknown (no t-test: all differences are equal)"]),
        ({}, {1: 28.5}, ["FFC with the vote scores 28.50 AP", "no comparison", "--stock"]),
        ({1: 27.0}, {}, ["The baseline scores 27.00 AP", "No FFC run has a score"]),
    ],
)  # fmt: skip
def test_the_verdict_says_what_the_scores_allow_in_two_sentences(tmp_path, stock, ffc, said):
    found = verdict(runs_of_seeds(tmp_path, stock, ffc))
    assert all(each in found for each in said), found
    assert found.endswith(".") and found.count(". ") == 1


def test_a_baseline_without_a_score_is_to_be_evaluated(tmp_path):
    detectron2_run(tmp_path / "stock")
    ffc = detectron2_run(tmp_path / "ffc", ffc=True, ap=28.5)
    (group,) = collect([tmp_path])
    assert verdict(group).endswith("The baseline has no score, so there is no comparison: evaluate it.")
    (group,) = collect([ffc])
    assert verdict(group).endswith("name its folder with --stock.")


def test_the_page_begins_with_date_verdict_and_settings_and_explains_its_words(detection):
    text = Page(detection[1]).text
    begin = text.partition("Training")[0]
    assert re.search(r"Written on \d{4}-\d\d-\d\d \d\d:\d\d", begin)
    for each in ("FFC with the vote scores 27.90 AP, the baseline 27.10 AP: +0.80 AP.", "490,000", "Out1 classifies F0",
                 "votes for its most probable class", "The average of the outputs"):  # fmt: skip
        assert each in begin
    assert "twin" not in text


def test_the_page_names_no_absolute_path(tmp_path, monkeypatch):
    stock, ffc = pair(tmp_path / "runs")
    path = ffc / "analysis_model_final" / "analysis.json"
    content = json.loads(path.read_text())
    content["weights"] = str(ffc / "model_final.pth")
    content["gallery"]["fixed"][0]["image"] = str(tmp_path / "gone.jpg")
    path.write_text(json.dumps(content))
    (ffc / "analysis_model_final" / "active_units.png").unlink()
    other = detectron2_run(tmp_path / "runs" / "other", ffc=True, seed=2)
    third = detectron2_run(tmp_path / "runs" / "third", ffc=True, seed=3)
    (third / "model_final.pth").write_bytes(b"no checkpoint")
    os.utime(path)
    monkeypatch.chdir(tmp_path)
    html = report(tmp_path, stock.resolve(), ffc.resolve(), other, third)
    assert "gone.jpg" in html and "active_units.png is missing" in html and "names no test set" in html
    assert "other holds no checkpoint" in html
    assert str(tmp_path) not in html


def test_a_line_has_its_style_in_every_chart_and_no_two_share_one():
    outputs = [f"out{i}" for i in range(1, 12)]
    of_runs, of_outputs = styles(["FFC", "stock", "FFC eps=0.1"]), styles([*outputs, "mean", "vote"])
    assert of_runs["FFC"] == styles(["FFC"])["FFC"] == of_outputs["vote"]
    assert len({of_runs[name] for name in ("stock", "FFC", "FFC eps=0.1")}) == 3
    assert len({of_outputs[name] for name in [*outputs, "mean", "vote"]}) == 13


def test_mean_and_vote_differ_in_colour_and_dash_in_the_chart_of_outputs(tmp_path):
    run = detectron2_run(tmp_path / "ffc", ffc=True)
    names = [*(f"out{i}" for i in range(1, 8)), "mean", "vote"]
    log = [{"iteration": i, "total_loss": 1.0} | {f"ffc/{name}/accuracy": 0.5 for name in names} for i in (19, 39)]
    (run / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in log))
    html = report(tmp_path, run)
    page = Page(html)
    drawn = [line["class"] for line in page.all("polyline")][1:]
    assert len(drawn) == 9 == len(set(drawn)) and drawn[-2:] == ["line s-mean", "line s-ffc"]
    colours = re.findall(r"^\.s-mean|\.s-(?:mean|ffc) \{ stroke: (var\(--c\d\))", html, re.MULTILINE)
    assert len(set(colours)) == 2
    assert ".line.s-mean { stroke-dasharray" in html and ".line.s-ffc { stroke-dasharray" not in html


def test_what_was_logged_once_is_in_a_table_and_in_no_chart(tmp_path):
    run = detectron2_run(tmp_path / "ffc", ffc=True, ap=28.0)
    log = [{"iteration": 19, "total_loss": 1.5, "loss_cls": 0.25}, {"iteration": 489_999, "total_loss": 1.0}]
    scores = {f"bbox/{key}": value for key, value in box_scores(28.0).items()} | {"iteration": 490_000}
    (run / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in [*log, scores]))
    page = Page(report(tmp_path, run))
    assert [each["aria-label"][:10] for each in page.all("svg", class_="chart")] == ["total_loss"]
    assert ["loss_cls", "0.2500"] in page.rows
    assert [row[3:6] for row in page.rows if row[:1] == ["ffc"]] == [["47.00", "29.00", "28.00"]]


def test_an_axis_of_scores_does_not_magnify_noise():
    found = chart("mIoU", [Series("FFC", [(1, 78.3), (2, 78.8)], "s-ffc")], least=10)
    values = [float(text) for _, text in found["y_ticks"]]
    assert max(values) - min(values) >= 10


def test_the_gain_of_a_class_is_over_the_baseline_and_over_out1_where_that_has_none(tmp_path):
    gains = [
        {"class": "car", "out1": 20.0, "vote": 21.0, "gain": 1.0},
        {"class": "ship", "out1": 9.0, "vote": 8.0, "gain": -1.0},
    ]
    stock, ffc = pair(tmp_path / "runs")
    path = ffc / "analysis_model_final" / "analysis.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"class_gain": gains}))

    def rows():
        found = Page(report(tmp_path, stock, ffc)).rows
        return [row[:4] for row in found if len(row) == 5 and row[0] in ("class", "car", "ship")]

    head, *found = rows()
    assert head[1] == "Out1" and found == [["car", "20.00", "21.00", "+1.00"], ["ship", "9.00", "8.00", "-1.00"]]
    analysis(stock / "analysis_model_final")
    path = stock / "analysis_model_final" / "analysis.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"class_scores": {"car": 20.5, "ship": 7.0}}))
    head, *found = rows()
    assert head[1] == "baseline" and found == [["ship", "7.00", "8.00", "+1.00"], ["car", "20.50", "21.00", "+0.50"]]
    log = stock / "metrics.json"
    last = json.loads(log.read_text().splitlines()[-1]) | {"bbox/AP-car": 23.5, "bbox/AP-ship": 6.0}
    log.write_text(log.read_text() + json.dumps(last) + "\n")
    head, *found = rows()
    assert head[1] == "baseline" and found == [["ship", "6.00", "8.00", "+2.00"], ["car", "23.50", "21.00", "-2.50"]]


def test_scores_per_class_come_from_evaluations_of_both_frameworks(tmp_path):
    detector = detectron2_run(tmp_path / "ffc", ffc=True)
    results = {"vote": {"bbox": box_scores(28.0) | {"AP-traffic light": 3.5, "AP-gone": None}}}
    reductions(detector / "eval", "detectron2", detector / "model_final.pth", results)
    segmentor = mmengine_run(tmp_path / "pspnet")
    results = {"stock": {"mIoU": 78.0, "IoU": {"car": 90.0, "train": None}, "Acc": {"car": 95.0}}}
    reductions(segmentor / "eval", "mmseg", segmentor / "iter_40000.pth", results)
    logging = mmengine_run(tmp_path / "logging", miou=78.0, seed=2)
    (log,) = logging.glob("*/vis_data/scalars.json")
    log.write_text(log.read_text().replace('"mIoU"', '"IoU.car": 91.0, "Acc.car": 96.0, "mIoU"'))
    first, *others = read_runs([detector, segmentor, logging])
    assert first.class_scores == {"vote": {"traffic light": 3.5}}
    assert sorted(run.class_scores["stock"]["car"] for run in others) == [90.0, 91.0]
    assert all(run.class_scores["stock"].keys() == {"car"} for run in others)


def test_rare_agreement_is_visible():
    shares = [0.0, 0.0, 1e-6, 0.1, 0.899999]
    rows = [{"outputs": i, "share": share, "accuracy": 0.5} for i, share in enumerate(shares)]
    found = agreement({"decisions": 10**6, "agreement": rows})
    assert [row[0].text for row in found.rows] == ["2 of 4", "3 of 4", "4 of 4"]
    assert [row[1].text for row in found.rows] == ["1", "100,000", "899,999"]
    assert [row[2].text for row in found.rows] == ["0.0001", "10.00", "90.00"]
    assert [row[3].bar[1] for row in found.rows] == pytest.approx(
        [100 * (1 + x / 7) for x in (-6, -1, -0.0458)], abs=0.1
    )


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
    assert "ffc-dense analyze" in text and "coco_2017_val" in text and "No run has a score yet" in text
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
    assert told not in page.text and "ffc-dense analyze" not in page.text
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
    found = chart("loss", [Series("FFC", [(0.0, value)], "s-ffc")])
    assert [x for line in found["lines"] for x, _ in line["places"]] == [LEFT]
    assert found["x_ticks"] == [(LEFT, "0")]


def test_what_is_missing_or_malformed_is_a_line_and_exit_code_2(tmp_path):
    assert "is not a folder" in failed(tmp_path / "absent")
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
    assert "the analysis lacks 'changes'" in failed(run)


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


def test_pictures_of_predictions_are_in_the_page_at_most_max_images_of_a_folder(tmp_path):
    _, ffc = pair(tmp_path)
    folder = tmp_path / "pictures_<b>"
    folder.mkdir()
    for n in range(3):
        Image.fromarray(np.full((50, 3000, 3), 70 * n, np.uint8)).save(folder / f"{n}.png")
    (folder / "predictions.csv").write_text("image")
    assert run_tool("report", ffc, "--pictures", folder, "--max-images", 2)[0] == 0
    page = (ffc / "report.html").read_text()
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="Predictions in pictures_&lt;b&gt;/(\d)\.png"', page)
    assert [name for _, name in found] == ["0", "1"]
    with Image.open(io.BytesIO(base64.b64decode(found[1][0]))) as shown:
        assert shown.size == (1600, 27) and abs(shown.getpixel((9, 9))[0] - 70) < 3
    (tmp_path / "empty").mkdir()
    code, _, error = run_tool("report", ffc, "--pictures", tmp_path / "empty")
    assert code == 2 and "--pictures: " in error and "empty holds no picture" in error


def test_the_control_of_one_layernorm_is_named_and_keeps_one_style(tmp_path):
    stock = mmengine_run(tmp_path / "stock", miou=78.0)
    control = mmengine_run(tmp_path / "control", ffc=True, miou=78.5)
    for path in (*control.glob("*.py"), *control.glob("*/*/config.py")):
        path.write_text(path.read_text().replace("channels=512", "channels=512, normalize_input=True, num_filters=0"))
    (group,) = collect([stock, control])
    assert [subject.run.variant for subject in group.subjects] == ["stock", CONTROL]
    drawn = training_curves(group)
    assert drawn["legend"] == [("stock", "s-stock"), (f"one LayerNorm ({CONTROL})", "s-control")]
    css = (ROOT / "ffc_dense/report/assets/report.css").read_text()
    colours = dict(re.findall(r"\.s-(\w+) \{ stroke: (var\(--\w+\))", css))
    assert len(set(colours.values())) == len(colours) == 4 + COLOURS
