"""The report in headless Chromium: what its script does, that nothing from a file runs, and how it is laid out."""

import json
import os

import pytest
from chrome import MISSING, Chrome
from PIL import Image
from report_runs import HOSTILE, pair
from tools_in_process import run_tool

pytestmark = pytest.mark.skipif(
    bool(MISSING) and "CI" not in os.environ, reason=f"the browser test needs Chromium: {MISSING}"
)
NAMES = "return [...document.querySelectorAll('.card:not([hidden])')].map(card => card.dataset.name[5])"
VIEWER = "return document.getElementById('viewer').open"
TITLE = "return document.getElementById('viewer-title').textContent"


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    browser = Chrome(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module", params=["detection", "segmentation"])
def page(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    pair(root, request.param == "detection")
    code, _, err = run_tool("report", root)
    assert code == 0, err
    return root / "report.html"


@pytest.fixture(autouse=True)
def _no_console_errors(chrome):
    yield
    assert chrome.messages() == []


def choose(chrome, name, value):
    chrome.run(f"const field = document.querySelector('form').elements.{name}; field.value = {json.dumps(value)};"
               "field.dispatchEvent(new Event('input', {bubbles: true}))")  # fmt: skip


def test_the_gallery_sorts_and_filters(chrome, page):
    chrome.open(page)
    assert chrome.run(NAMES) == ["0", "1", "2"]  # fixed: 3, 1, 0
    choose(chrome, "sort", "broken")
    assert chrome.run(NAMES) == ["1", "2", "0"]  # broken: 5, 2, 1
    choose(chrome, "sort", "name")
    assert chrome.run(NAMES) == ["0", "1", "2"]
    choose(chrome, "show", "loss")
    assert chrome.run(NAMES) == ["1", "2"]
    choose(chrome, "filter", "IMAGE2")
    assert chrome.run(NAMES) == ["2"]
    assert chrome.run("return document.querySelector('output').value") == "1 of 3 images"
    choose(chrome, "filter", "no such class")
    assert chrome.run(NAMES) == []


def test_the_address_restores_what_was_shown(chrome, page):
    chrome.open(page, "#gallery=0&sort=broken&show=all&filter=image&open=2")
    assert chrome.run(NAMES) == ["1", "2", "0"]
    assert chrome.run(VIEWER) and chrome.run(TITLE) == "image2.jpg (2 of 3)"
    chrome.press("Right")
    chrome.open(page, chrome.run("return location.hash"))
    assert chrome.run(TITLE) == "image0.jpg (3 of 3)"
    chrome.open(page, "#gallery=7&sort=none&open=-1")
    assert not chrome.run(VIEWER)


def test_the_large_view_opens_zooms_and_closes_by_the_keyboard(chrome, page):
    chrome.open(page)
    chrome.run("document.querySelector('.open').focus()")
    chrome.press("Enter")
    assert chrome.until(VIEWER) and chrome.run(TITLE) == "image0.jpg (1 of 3)"
    panels = "return [...document.querySelectorAll('#viewer .panel')].map(panel => panel.getAttribute('viewBox'))"
    whole = chrome.run(panels)
    assert len(whole) in (3, 4) and set(whole) == {"0 0 40 30"}
    chrome.press("+", "+")
    assert len(set(chrome.run(panels))) == 1 and float(chrome.run(panels)[0].split()[2]) == pytest.approx(40 / 2.25)
    chrome.press("0")
    assert set(chrome.run(panels)) == {"0 0 40 30"}
    chrome.press("Left")
    assert chrome.run(TITLE) == "image2.jpg (3 of 3)"
    chrome.press("Escape")
    chrome.until("return !document.getElementById('viewer').open")
    # The image that was shown last, once the event of closing has come.
    assert chrome.until("return document.activeElement.getAttribute('aria-label') === 'Enlarge image2.jpg'")


def test_a_click_opens_the_large_view_with_its_pictures(chrome, page):
    chrome.open(page)
    chrome.click(".card:nth-child(2) .open")
    assert chrome.run(TITLE) == "image1.jpg (2 of 3)"
    assert chrome.run("return document.querySelector('#viewer .panel').getBoundingClientRect().width") > 200
    assert chrome.run("return document.querySelectorAll('#viewer tbody tr').length") >= 1
    chrome.click("[data-do=close]")
    assert not chrome.run(VIEWER)


def test_tables_sort_by_numbers_both_ways_and_keep_what_is_unknown_below(chrome, page):
    chrome.open(page)
    table = ("const table = [...document.querySelectorAll('table.sortable')]"
             ".find(each => each.caption.textContent.startsWith('Each output'));")  # fmt: skip
    column = table + "return [...table.tBodies[0].rows].map(row => row.cells[2].dataset.value)"
    button = table + "table.tHead.rows[0].cells[2].querySelector('button').click()"
    original = chrome.run(column)
    numbers = sorted((float(value) for value in original if value), reverse=True)
    for expected, state in ((numbers, "descending"), (numbers[::-1], "ascending")):
        chrome.run(button)
        shown = chrome.run(column)
        assert [float(value) for value in shown[:7]] == expected and shown[7:] == ["", ""]
        assert chrome.run("return document.querySelector('[aria-sort]').getAttribute('aria-sort')") == state


def test_a_chart_reads_its_values_by_the_arrow_keys(chrome, page):
    chrome.open(page)
    chrome.run("document.querySelector('svg.chart').focus()")
    chrome.press("Left")
    readout = "return document.querySelector('.readout').textContent"
    first = chrome.run(readout)
    chrome.press("Left")
    assert "stock" in first and "FFC" in first and chrome.run(readout) != first


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_every_window_in_both_colour_schemes(chrome, page, width, scheme, tmp_path):
    chrome.size(width, 800, mobile=width < 500)
    chrome.colours(scheme)
    chrome.open(page)
    assert chrome.run("return document.documentElement.scrollWidth") <= width
    chrome.screenshot(tmp_path / "shot.png")
    with Image.open(tmp_path / "shot.png") as image:
        assert image.size == (width, 800)
        corner = sum(image.convert("RGB").getpixel((3, 700)))
        assert len(image.convert("RGB").getcolors(10**6)) > 20  # not blank
    assert (corner > 700) if scheme == "light" else (corner < 100)


def test_nothing_that_a_file_holds_runs(chrome, tmp_path):
    _, ffc = pair(tmp_path)
    path = ffc / "analysis_model_final" / "analysis.json"
    content = json.loads(path.read_text())
    content |= {"decision": HOSTILE, "weights": HOSTILE}
    content["outputs"][0]["name"] = HOSTILE
    for entry in content["gallery"]["fixed"]:
        entry["boxes"][0] |= {"before": HOSTILE, "after": HOSTILE}
    path.write_text(json.dumps(content))
    assert run_tool("report", tmp_path)[0] == 0
    chrome.open(tmp_path / "report.html", "#gallery=0&open=1&filter=<script>")
    assert chrome.run(VIEWER) and "<script>" in chrome.run("return document.querySelector('.facts').textContent")
    assert chrome.run("return document.title").startswith("FFC report")
    assert chrome.run("return document.querySelectorAll('script').length") == 1


def test_the_policy_stops_a_script_that_got_into_the_page(chrome, page, tmp_path):
    changed = tmp_path / "changed.html"
    changed.write_text(page.read_text().replace("</main>", "</main><script>document.title = 'run'</script>"))
    chrome.open(changed)
    assert chrome.run("return document.title") != "run"
    assert any("Content Security Policy" in message for message in chrome.messages())
