"""How a busy core slows FFC: the same work in fresh processes, on a quiet CPU and beside a process that spins.

python -m benchmarks load [--processes 5] [--quick] [--write-docs]

Each process measures its candidates in turns. A figure is the median of the processes' medians. The slowest sample of
all is given too: with many short parallel operations, one busy core can stall all threads.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

import torch

from . import layers, report, segmentation_vote
from .machine import machine, revision
from .memory import ROOT
from .timing import interleave
from .works import FFC, LITERAL, PLAIN, RESIZE, Samples

LOADS = ("quiet", "one busy core")
WORKS = {"rows 1024x2048 -> 81": ((1024, 2048), 81), "maps (2,512,97,97) -> 19": ((2, 512, 97, 97), 19)}
VOTE = "vote at image size, 1024x2048x19"
HEADER = "| work | load | FFC | slowest | baseline | FFC / baseline | FFC / FFC quiet |\n|---|---|---|---|---|---|---|"
Found = dict[str, dict[str, list[Samples]]]  # work -> load -> a process's samples


@contextmanager
def load(name: str):
    """A second process keeps one core busy, unless the load is quiet."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if name != "quiet" else None
    try:
        yield
    finally:
        if busy is not None:
            busy.kill()
            busy.wait()


def one_process(work: str, quick: bool) -> Samples:
    """In the fresh process: seconds of every candidate."""
    rounds = 1 if quick else None
    if work == VOTE:
        image, feature = ((64, 128), (9, 17)) if quick else ((1024, 2048), (129, 257))
        calls = {name: segmentation_vote.candidate(name, image, feature, "cpu") for name in (FFC, RESIZE)}
        return interleave(calls, "cpu", seconds=12, rounds=rounds)
    shape, classes = WORKS[work]
    shape = (*shape[:1], 16, *(5 for _ in shape[2:])) if quick else shape
    return layers.measure_time(shape, classes, torch.float32, "cpu", [PLAIN, LITERAL], rounds)


def measure(processes: int, quick: bool) -> Found:
    found: Found = {work: {name: [] for name in LOADS} for work in (*WORKS, VOTE)}
    begin = time.time()
    for number in range(processes):
        for work, name in ((work, name) for work in found for name in LOADS):
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.load", "--work", work]
            with load(name):
                done = subprocess.run([*command, *["--quick"] * quick], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                                      check=True)  # fmt: skip
            found[work][name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"[{time.time() - begin:4.0f} s] process {number + 1} of {processes}: {work}, {name}", flush=True)
    return found


def table(found: Found) -> str:
    """Markdown: a row per work, load and baseline."""
    rows = []
    seconds = partial(report.quantity, unit="time")
    for work, loads in found.items():
        for name, samples in loads.items():
            ours, quiet = (_median(loads[each], FFC) for each in (name, "quiet"))
            slowest = max(max(each[FFC]) for each in samples)
            for baseline in samples[0].keys() - {FFC}:
                theirs = _median(samples, baseline)
                rows.append(f"| {work} | {name} | {seconds(ours)} | {seconds(slowest)} | {baseline}, {seconds(theirs)} "
                            f"| {ours / theirs:.2f} | {ours / quiet:.2f} |")  # fmt: skip
    return "\n".join([HEADER, *rows])


def _median(samples: list[Samples], name: str) -> float:
    return statistics.median(statistics.median(each[name]) for each in samples)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks load", description="How a busy core slows FFC")
    parser.add_argument("--processes", type=int, default=5, help="fresh processes for each work and load (default: 5)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: tests the tool, measures nothing")
    parser.add_argument("--write-docs", action="store_true", help="also write the table into docs/background")
    parser.add_argument("--work", choices=(*WORKS, VOTE), help=argparse.SUPPRESS)  # a fresh process measures it
    args = parser.parse_args(argv)
    if args.work:
        print(json.dumps(one_process(args.work, args.quick)))
        return
    docs = ROOT / "docs/background/performance.md"
    if args.write_docs:
        report.check_markers(docs)
    when = f"Date: {datetime.date.today()}. Commit: {revision() or 'unknown'}. "
    when += f"Command: `python -m benchmarks load --processes {args.processes}`."
    text = f"### CPU, quiet and busy\n\n{report.MACHINE}{machine('cpu')}.\n\n{when}\n\n"
    text += table(measure(args.processes, args.quick)) + "\n"
    print("\n" + text)
    if args.write_docs:
        report.write_docs(docs, {"load": text})


if __name__ == "__main__":
    main(sys.argv[1:])
