"""The evidence's statistics and its report: what was measured, and nothing else, comes out of the record."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("matplotlib")

from repository import ROOT
from scipy import stats

from evidence import __main__ as command_line
from evidence import folders, plan, record, report, tables
from evidence.comparisons import Difference, holm, reached, series
from evidence.plan import HEADS, RATES, SCHEDULES, Run, with_rate
from evidence.record import Result
from evidence.selectors import HELD_OUT
from ffc_dense.errors import UserError
from ffc_dense.reliability.jobs import start_over_if_changed

DOCS = ROOT / "docs/background"
LONGEST, MIDDLE = SCHEDULES["detection"][-1], SCHEDULES["detection"][-2]


def result(head, seed, scores, iterations=LONGEST, curve=None, task="detection"):
    return Result(Run(task, head, iterations, seed), scores, curve or {})


STOCK = {1: 70.0, 2: 72.0, 3: 71.0}
FFC = {1: 72.0, 2: 73.5, 3: 73.5}
RESULTS = [
    *(result("stock", seed, {"out1": score}, curve={100: 40.0, 200: score}) for seed, score in STOCK.items()),
    *(result("ffc", seed, {"vote": score, "mean": score + 0.5, "out1": 60.0, "out2": 61.0 + seed},
             curve={100: 64.0, 200: score}) for seed, score in FFC.items()),
    result("ln", 1, {"out1": 75.0}),
]  # fmt: skip


def test_a_difference_has_the_interval_of_the_paired_t_test():
    found = Difference.of(FFC, STOCK)
    differences = [2.0, 1.5, 2.5]
    half = stats.t.ppf(0.975, 2) * stats.tstd(differences) / 3**0.5
    assert found.pair.difference.mean == pytest.approx(2.0)
    assert found.pair.interval == pytest.approx((2 - half, 2 + half))
    assert found.counts and found.text(True) == f"**+2.00** [{2 - half:+.2f}, {2 + half:+.2f}]"
    assert found.text(False).startswith("**+2.00**°")


def test_an_interval_with_zero_in_it_does_not_count():
    found = Difference.of({1: 1.0, 2: 3.0, 3: 0.0}, {1: 2.0, 2: 1.0, 3: 0.5})
    assert not found.counts and found.text(True).startswith("+0.17 [")
    nearly = Difference.of({1: 0.1, 2: 0.1004, 3: 0.1}, {1: 0.0997, 2: 0.1, 3: 0.0997})
    assert nearly.pair.interval[0] > 0 and not nearly.counts  # [+0.00, +0.00] as it is shown


def test_two_pairs_are_no_evidence():
    found = Difference.of({1: 3.0, 2: 3.1}, {1: 1.0, 2: 1.0})
    assert found.pair.interval[0] > 0 and not found.counts and found.text(True) == "+2.05 (n = 2)"


def test_one_pair_has_no_interval_ties_are_zero_and_no_pair_is_nothing():
    assert Difference.of({1: 5.0, 2: 4.0}, {1: 3.0}).text(True) == "+2.00 (n = 1)"
    assert Difference.of({1: 5.0, 2: 4.0}, {1: 5.0, 2: 4.0}).text(True) == "0"
    assert Difference.of({1: 5.0}, {2: 5.0}).text(True) == "" and not Difference.of({1: 5.0}, {2: 5.0}).counts


@pytest.mark.parametrize(
    ("values", "expected"),
    [  # worked by hand: 0.05 / 3, 0.05 / 2, 0.05
        ([0.01, 0.04, 0.03], [True, False, False]),
        ([0.01, 0.04, 0.02], [True, True, True]),
        ([0.02, 0.02, 0.02], [False, False, False]),
        ([None, 0.05, None], [False, True, False]),
        ([], []),
    ],
)
def test_holms_correction_compares_the_smallest_first(values, expected):
    assert holm(values) == expected


def test_the_single_output_of_a_head_stands_for_its_vote_and_mean():
    assert series(RESULTS, "detection", "stock", LONGEST, "vote") == STOCK
    assert series(RESULTS, "detection", "stock", LONGEST, "out2") == {}
    assert series(RESULTS, "detection", "ffc", LONGEST, "mean") == {1: 72.5, 2: 74.0, 3: 74.0}


def test_a_level_is_reached_at_the_first_evaluation_that_has_it():
    curve = {300: 50.0, 100: 10.0, 200: 50.0}
    assert [reached(curve, level) for level in (5, 50, 50.1)] == [100, 200, None]


def row(table, title):
    return next(line for line in table.splitlines() if line.startswith(f"| {title} |"))


def test_the_main_table_has_means_and_paired_differences():
    table = tables.tables(RESULTS)["main-detection"]
    assert row(table, "stock classifier") == "| stock classifier | 3 | 71.0 ± 1.0 |  | -5.00 (n = 1) |"
    assert "| 3 | 73.0 ± 0.9 | **+2.00**" in row(table, "FFC, vote")
    assert "| 1 | 75.0 | +5.00 (n = 1) |" in row(table, HEADS["ln"].label)
    assert "ffc_n5" not in table and "nan" not in table


def test_a_schedule_is_compared_with_runs_of_its_own_length():
    stock, ln, ffc = {1: 10.0, 2: 20.0, 3: 30.0}, {1: 14.0, 2: 24.5, 3: 35.0}, {1: 18.0, 2: 28.0, 3: 39.5}
    values = {"stock": stock, "ln": ln, "ffc": ffc}
    shorter = [result(head, seed, {"out1": score, "vote": score}, iterations=MIDDLE)
               for head, scores in values.items() for seed, score in scores.items()]  # fmt: skip
    table = tables.tables([*RESULTS, *shorter])["schedules-detection"]
    cells = {head: row(table, f"{HEADS[head].label}, {MIDDLE} iterations").split(" | ")[3:] for head in values}
    assert cells["ffc"] == [Difference.of(ffc, stock).text(True), Difference.of(ffc, ln).text(True) + " |"]
    assert cells["ln"][0].startswith("**+4.50**") and cells["ln"][1].strip(" |") == ""
    longest = row(table, f"{HEADS['ffc'].label}, {LONGEST} iterations").split(" | ")
    assert longest[3:] == [Difference.of(FFC, STOCK).text(True), "-3.00 (n = 1) |"]


def searched(head, rate, heldout, test):
    rule = "vote" if head == "ffc" else "out1"
    run = Run("classification", with_rate(head, rate), SCHEDULES["classification"][-1], 1)
    return [Result(replace(run, seed=seed), {rule: test + seed, HELD_OUT: heldout}, {}) for seed in (1, 2, 3)]


def test_each_head_is_compared_at_the_rate_that_its_own_held_out_images_choose():
    best = {"stock": 3, "ln": 1, "ffc": 0.3}
    found = [result for head in best for rate in RATES
             for result in searched(head, rate, 90.0 if rate == best[head] else 80.0, rate)]  # fmt: skip
    table = tables.tables(found)["rates-classification"].split("Each at the rate")[1]
    assert row(table, f"{HEADS['stock'].label}, x 3").startswith("| stock classifier, x 3 | 3 | 5.0 ± 1.0 |  |")
    assert row(table, "FFC, x 0.3").startswith("| FFC, x 0.3 | 3 | 2.3 ± 1.0 | -2.70 (n = 3) | -0.70 (n = 3) |")
    without = [result for result in found if (result.run.head, result.run.seed) != ("ffc_lr10", 3)]
    assert "| FFC, x 0.3 | 2 |" in tables.tables(without)["rates-classification"]
    some = [result for result in found if result.run.head != "ffc_lr10"]
    assert tables.tables(some)["rates-classification"].endswith("every head needs runs at every rate.")


def test_runs_that_are_missing_are_no_number():
    found = tables.tables(RESULTS)
    assert found["ablations-detection"].startswith("no run yet") and found["main-deeplabv3"] == "no run yet"
    assert found["speed-deeplabv3"] == "no run yet"
    for name, table in tables.tables([]).items():
        assert not re.search(r"[-+]?\d+\.\d+ [±\[]", table), name


def test_the_speed_table_counts_runs_that_never_get_there():
    line = row(tables.tables(RESULTS)["speed-detection"], "stock classifier")
    assert line == "| stock classifier | 3 | 100 | 200 | 200 |"  # 36, 53 and 64 of a final 71
    late = [result("stock", 1, {"out1": 90.0}, curve={100: 90.0}), result("ffc", 1, {"vote": 1.0}, curve={100: 1.0})]
    assert row(tables.tables(late)["speed-detection"], "FFC") == "| FFC | 1 | - (1 never) | - (1 never) | - (1 never) |"


def test_the_record_read_back_gives_the_same_report(tmp_path):
    record.write_record(RESULTS, tmp_path / "evidence.json")
    again = record.read_record(tmp_path / "evidence.json")
    assert sorted(again, key=lambda r: r.run.name) == sorted(RESULTS, key=lambda r: r.run.name)
    assert tables.tables(again) == tables.tables(RESULTS)
    with pytest.raises(UserError, match=r"none\.json does not exist: `python -m evidence` writes it"):
        record.read_record(tmp_path / "none.json")


def test_results_of_other_settings_or_runs_outside_the_plan_are_not_read(tmp_path, monkeypatch):
    record.write_record([*RESULTS, result("stock", 1, {"out1": 1.0}, iterations=7)], tmp_path / "evidence.json")
    assert len(record.read_record(tmp_path / "evidence.json")) == len(RESULTS)
    monkeypatch.setitem(plan.HEADS, "ffc", replace(plan.HEADS["ffc"], classifier_lr=3))
    assert {found.run.head for found in record.read_record(tmp_path / "evidence.json")} == {"stock", "ln"}
    monkeypatch.setitem(plan.PROTOCOL, "detection", plan.PROTOCOL["detection"] + 1)
    assert record.read_record(tmp_path / "evidence.json") == []


def test_a_record_is_not_replaced_by_one_with_fewer_runs(tmp_path):
    record.write_record(RESULTS, tmp_path / "evidence.json")
    runs = {each.identity for each in RESULTS}
    record.refuse_loss(runs, tmp_path / "evidence.json")
    record.refuse_loss(set(), tmp_path / "none.json")
    with pytest.raises(UserError, match=r"1 runs that would be lost \(detection/ln/.*--merge keeps them"):
        record.refuse_loss(runs - {RESULTS[-1].identity}, tmp_path / "evidence.json")


def test_a_run_with_other_settings_starts_over_and_an_interrupted_one_goes_on(tmp_path, monkeypatch):
    run = RESULTS[0].run
    start_over_if_changed(folders.folder(tmp_path, run), run.key)
    file = folders.folder(tmp_path, run) / "scores.json"
    folders.write_json(file, {"key": run.key})
    start_over_if_changed(folders.folder(tmp_path, run), run.key)
    assert folders.scores(tmp_path, run) == {"key": run.key}
    monkeypatch.setitem(plan.PROTOCOL, "detection", plan.PROTOCOL["detection"] + 1)
    assert folders.scores(tmp_path, run) is None
    start_over_if_changed(folders.folder(tmp_path, run), run.key)
    assert not file.exists()


def test_selectors_wait_for_their_run_and_a_failed_run_takes_them_along(tmp_path, capsys):
    """The jobs are real processes: one run writes its scores and the other fails; selectors need the scores."""
    good, bad = (Run("detection", "ffc", LONGEST, seed) for seed in (1, 2))
    jobs = command_line.unfinished(tmp_path, [good, bad])
    assert [job.needs for job in jobs] == [None, None, jobs[0], jobs[1]] and jobs[0].folder == jobs[2].folder
    scores = folders.folder(tmp_path, good) / "scores.json"
    written = json.dumps({"key": good.key})
    codes = [
        f"import time, pathlib; time.sleep(1.5); pathlib.Path({str(scores)!r}).write_text({written!r})",
        "raise SystemExit(3)",
        f"import pathlib; pathlib.Path({str(scores)!r}).rename({str(tmp_path / 'seen')!r})",
        "raise SystemExit('must not start')",
    ]
    for job, code in zip(jobs, codes, strict=True):
        job.command = [sys.executable, "-c", code]
    with pytest.raises(UserError, match=rf"1 jobs failed: {bad.name}$"):
        command_line.do(jobs)
    assert (tmp_path / "seen").exists() and "failed with exit code 3" in capsys.readouterr().out
    assert "must not start" not in jobs[3].log.read_text()


def test_a_tie_with_the_base_is_shown_as_zero():
    tie = [*RESULTS[:-1], *(result("ln", seed, {"out1": score}) for seed, score in STOCK.items())]
    assert row(tables.tables(tie)["main-detection"], HEADS["ln"].label).endswith("| 71.0 ± 1.0 | 0 |  |")


def test_a_comparison_is_counted_once_and_an_oracle_not_at_all():
    more = [Result(each.run, {**each.scores, "oracle: x": 99.0}, {}) for each in RESULTS if each.run.head == "ffc"]
    note = tables.tables(more)["rules-detection"].splitlines()[-1]
    assert note.startswith("1 comparisons;")  # vote and mean


AGAIN = [replace(each, repeat=1, scores={**each.scores, "vote": each.scores["vote"] + each.run.seed,
                                         "selector: gate": 80.0})
         for each in RESULTS if each.run.head == "ffc"]  # fmt: skip


def test_a_repeated_run_is_compared_with_its_first_run_and_changes_no_other_table(tmp_path):
    record.write_record([*RESULTS, *AGAIN], tmp_path / "evidence.json")
    both = record.read_record(tmp_path / "evidence.json")
    assert sorted(both, key=lambda each: (each.repeat, each.run.name)) == sorted(
        [*RESULTS, *AGAIN], key=lambda each: (each.repeat, each.run.name)
    )
    found, first = tables.tables(both), tables.tables(RESULTS)
    changed = {name for name in found if found[name] != first[name]}
    assert changed == {"repeats", "rules-detection"}
    line = row(found["repeats"], "Faster R-CNN R18-FPN, AP")
    assert line.endswith("| 3 | 73.0 ± 0.9 | 75.0 ± 1.8 | +2.00 [-0.48, +4.48] | 1.00 |")
    assert first["repeats"] == "no run was repeated" and "| selector: gate | 3 | 80.0" in found["rules-detection"]
    assert "| vote | 3 | 75.0 ± 1.8 |" in found["rules-detection"]


def test_a_repeated_run_is_merged_and_lost_apart_from_the_first(tmp_path):
    assert record.merged(RESULTS, [*RESULTS, *AGAIN]) == [*RESULTS, *AGAIN]
    record.write_record([*RESULTS, *AGAIN], tmp_path / "evidence.json")
    with pytest.raises(UserError, match="3 runs that would be lost"):
        record.refuse_loss({each.identity for each in RESULTS}, tmp_path / "evidence.json")


def test_merging_keeps_what_was_measured_anew():
    old = [result("stock", 1, {"out1": 1.0}), result("stock", 9, {"out1": 2.0})]
    assert record.merged(RESULTS, old) == [*RESULTS, old[1]]


def committed_pages():
    return {page: (DOCS / page).read_text() for page in report.PAGES}


def test_the_pages_have_one_place_for_each_table_and_the_text_around_stays():
    pages, found = committed_pages(), dict.fromkeys(tables.tables([]), "TABLE")
    filled = report.filled(pages, found)
    assert sum(text.count("\nTABLE\n") for text in filled.values()) == len(found)
    assert report.filled(filled, found) == filled
    users, appendix = pages.values()
    without = {"a.md": users, "b.md": appendix.replace("evidence: main-detection", "evidence main-detection")}
    with pytest.raises(ValueError, match=r"a\.md, b\.md: .* wrong is: main-detection"):
        report.filled(without, found)
    with pytest.raises(ValueError, match=r"wrong is: one of them twice"):
        report.filled({"a.md": users + "<!-- evidence: summary -->\n<!-- /evidence -->", "b.md": appendix}, found)


def test_the_pages_are_those_of_the_record():
    pages = committed_pages()
    assert report.filled(pages, tables.tables(record.read_record(ROOT / "docs/evidence.json"))) == pages


def test_every_run_of_the_committed_record_belongs_to_the_plan():
    file = ROOT / "docs/evidence.json"
    assert len(record.read_record(file)) == len(json.loads(file.read_text())) > 250


def test_the_readme_has_the_summary_of_the_record():
    summary = tables.tables(record.read_record(ROOT / "docs/evidence.json"))["summary"]
    assert summary in (ROOT / "README.md").read_text()


def test_the_summary_has_the_differences_of_the_main_heads():
    rows = tables.summary_table(RESULTS).splitlines()
    assert rows[2] == "| Faster R-CNN R18-FPN, AP | 1 | " + " | ".join(
        [Difference.of(FFC, STOCK).text(True), "+5.00 (n = 1)", "-3.00 (n = 1)"]
    ) + " |"  # fmt: skip
    assert rows[3] == "| PSPNet R18-d8, mIoU | 0 |  |  |  |"


def test_pictures_are_drawn_from_any_record(tmp_path):
    for results in ([], RESULTS):
        report.write(results, DOCS, tmp_path)
        for name in ("main", "curves", "ablations"):
            assert (tmp_path / f"evidence_{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_make_evidence_trains_scores_and_reports_and_does_nothing_a_second_time(tmp_path):
    environment = {**os.environ, "EVIDENCE_QUICK": "1"}
    command = [sys.executable, "-m", "evidence", "--work-dir", str(tmp_path)]
    first = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "12 runs, 24 jobs to do" in first.stdout and (tmp_path / "evidence.md").exists()
    entries = json.loads((tmp_path / "evidence.json").read_text())
    assert len(entries) == 12 and all("selector: stage weights" in entry["scores"] for entry in entries)
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert second.returncode == 0 and "12 runs, 0 jobs to do" in second.stdout
