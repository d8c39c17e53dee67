"""Quiet and busy: fresh processes measure, and the table compares medians."""

import subprocess

from benchmarks import load
from benchmarks.works import FFC, LITERAL, PLAIN


def test_a_process_measures_every_candidate():
    found = load.one_process("rows 1024x2048 -> 81", quick=True)
    assert found.keys() == {FFC, PLAIN, LITERAL} and all(seconds > 0 for each in found.values() for seconds in each)


def test_the_busy_process_runs_while_the_load_lasts_and_no_longer(monkeypatch):
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(load.subprocess, "Popen", Noted)
    with load.load("quiet"):
        assert started == []
    with load.load("one busy core"):
        assert started[0].poll() is None
    assert started[0].poll() is not None


def test_the_table_compares_medians_of_processes_and_shows_the_slowest_sample():
    def samples(*ours):
        return {FFC: list(ours), PLAIN: [1.0, 1.0, 9.0]}

    found = {"rows": {"quiet": [samples(2.0, 2.0, 30.0), samples(4.0), samples(3.0)],
                      "one busy core": [samples(6.0)]}}  # fmt: skip
    quiet, busy = load.table(found).splitlines()[2:]
    assert quiet == "| rows | quiet | 3.00 s | 30.0 s | plain layer, 1.00 s | 3.00 | 1.00 |"
    assert busy == "| rows | one busy core | 6.00 s | 6.00 s | plain layer, 1.00 s | 6.00 | 2.00 |"
