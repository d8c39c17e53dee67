"""Jobs are real processes: what runs side by side, what is not run again, and what a failure takes along."""

import sys
import time

import pytest

from ffc_dense.reliability.jobs import NOTE, Job, run


def job(folder, code, name="job", key="", **options):
    here = folder / name
    command = [sys.executable, "-c", code]
    return Job(name, command, here, key or code, folder / f"{name}.log", marker=folder / f"{name}.done", **options)


def wait_for(condition):
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_job_that_ended_well_is_done_until_its_key_changes_and_one_that_failed_is_not(tmp_path):
    good, bad = job(tmp_path, "print('said')", "good"), job(tmp_path, "raise SystemExit(3)", "bad")
    assert run([good, bad], 2, tmp_path) == [bad]
    assert good.is_done() and not bad.is_done() and bad.process.returncode == 3
    assert good.log.read_text() == "said\n"
    assert not job(tmp_path, "print('said')", "good", key="another").is_done()


def test_an_interrupted_job_keeps_its_folder_and_a_changed_one_starts_over(tmp_path, capsys):
    code = "import time; open('job/checkpoint', 'a').write('x'); time.sleep({})"
    checkpoint = tmp_path / "job" / "checkpoint"
    for content in ("x", "xx"):
        interrupted = job(tmp_path, code.format(60))
        interrupted.start(tmp_path)
        wait_for(lambda: checkpoint.exists() and checkpoint.read_text() == content)  # noqa: B023
        interrupted.process.kill()
        interrupted.process.wait()
        assert not interrupted.is_done()
    run([job(tmp_path, code.format(0))], 1, tmp_path)
    assert checkpoint.read_text() == "x" and (tmp_path / "job" / NOTE).read_text() == code.format(0)
    assert "the settings changed" in capsys.readouterr().out


def test_so_many_run_at_a_time_in_their_order(tmp_path):
    events = []
    jobs = [job(tmp_path, "", f"job{i}") for i in range(5)]
    run(jobs, 2, tmp_path, started=lambda each: events.append(1), ended=lambda each, left: events.append(-1))
    running = [sum(events[: i + 1]) for i in range(len(events))]
    assert max(running) == 2 and running[-1] == 0
    # The third starts when one of the first two has ended.
    order = []
    run(jobs, 1, tmp_path, started=order.append)
    assert order == jobs


def test_a_job_waits_for_the_one_it_needs_and_is_left_out_with_it(tmp_path):
    first = job(tmp_path, "import time; time.sleep(1); open('made', 'w')", "first")
    second = job(tmp_path, "open('made'); open('used', 'w')", "second", needs=first)
    bad = job(tmp_path, "raise SystemExit(3)", "bad")
    lost = job(tmp_path, "open('lost', 'w')", "lost", needs=bad)
    lost_too = job(tmp_path, "open('lost', 'w')", "lost too", needs=lost)
    left = []
    failed = run([second, lost_too, lost, bad, first], 2, tmp_path, ended=lambda each, number: left.append(number))
    assert failed == [bad] and (tmp_path / "used").exists() and not (tmp_path / "lost").exists()
    assert left == [2, 1, 0] and second.process.returncode == 0


def test_one_that_needs_a_finished_job_of_an_earlier_start_runs(tmp_path):
    assert run([job(tmp_path, "", needs=job(tmp_path, "", "earlier"))], 1, tmp_path) == []


def test_no_process_outlives_the_runner(tmp_path):
    jobs = [job(tmp_path, "import time; time.sleep(60)", f"job{i}") for i in range(2)]

    def give_up(running):
        if len(running) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(jobs, 2, tmp_path, meanwhile=give_up)
    assert all(each.process.poll() is not None for each in jobs) and not any(each.is_done() for each in jobs)


def test_the_environment_of_a_job_is_this_one_s_with_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("OF_THE_USER", "1")
    code = "import os; print(os.environ['OF_THE_USER'], os.environ['OF_THE_JOB'])"
    each = job(tmp_path, code, environment={"OF_THE_JOB": "2"})
    assert run([each], 1, tmp_path) == [] and each.log.read_text() == "1 2\n"
