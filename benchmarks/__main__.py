"""``make bench``: measure every line; write the tables, the samples and the plots.

python -m benchmarks [--quick] [--device cpu|cuda] [--only SECTION ...] [--write-docs]
python -m benchmarks gpu [--quick] [--seconds S] [--output FILE]: which backend is correct and fast on a GPU, in minutes
python -m benchmarks load [--processes 5]: how a busy core slows the layers and the vote
"""

import argparse
import datetime
import json
import shlex
import shutil
import sys
import time
from pathlib import Path

import torch

import ffc_dense

from . import detection, gpu, growth, layers, load, report, segmentation, segmentation_vote
from .machine import machine, revision
from .memory import ROOT
from .works import Result, why_not

SECTIONS = ("layers", "vote", "end_to_end", "growth")
DOCS = ROOT / "docs/background/performance.md"
PLOTS = {"cpu": "performance.png", "cuda": "performance_cuda.png"}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What FFC costs in time and memory")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: tests the tool, measures nothing")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="the only device to measure (default: all)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION", help=str(SECTIONS))
    parser.add_argument("--threads", type=int, help="number of torch's CPU threads (default: torch's own)")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/bench", help="folder for the results")
    parser.add_argument("--write-docs", action="store_true", help="also write the results into docs/background")
    args = parser.parse_args(argv)
    if args.threads is not None and args.threads < 1:
        parser.error(f"--threads must be at least 1, got {args.threads}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda, but torch finds no CUDA device")
    if args.write_docs:
        if args.quick or args.only != SECTIONS:
            parser.error("--write-docs requires a full run: leave out --quick and --only")
        try:
            report.check_markers(DOCS)
        except ValueError as error:
            parser.error(str(error))
    if args.threads:
        torch.set_num_threads(args.threads)
    run(args, shlex.join(["python", "-m", "benchmarks", *argv]))


def run(args: argparse.Namespace, command: str) -> None:
    args.work_dir.mkdir(parents=True, exist_ok=True)
    devices = [device for device in ("cpu", "cuda") if args.device in (None, device)]
    machines = {device: machine(device) for device in devices if device == "cpu" or torch.cuda.is_available()}
    backend = f" Backend of ffc_dense: {ffc_dense.get_backend()}." if hasattr(ffc_dense, "get_backend") else ""
    when = f"Date: {datetime.date.today()}. Commit: {revision() or 'unknown'}. Command: `{command}`.{backend}"

    modules = (layers, segmentation_vote, detection, segmentation)
    results = [Result(work, reason="not reached") for module in modules for work in module.works(args.quick)]
    begin = time.time()
    for result in results:
        result.reason = why_not(result.work, args.only, devices)
        if not result.reason:
            _progress(begin, f"{result.work.device}: {result.work.name}")
            result.samples = result.work.run()
            _write(args, results, machines, when)  # a later line may fail, or be interrupted
    curves = {}
    for device in machines if "growth" in args.only else ():
        _progress(begin, f"{device}: growth")
        curves[device] = growth.measure(device, args.quick)
        title = f"One layer, float32. {machines[device].split(', load')[0]}"
        growth.plot(curves[device], title, args.work_dir / PLOTS[device])
    sections = _write(args, results, machines, when, curves)
    print("\n" + "\n".join(sections.values()))
    _progress(begin, f"results in {args.work_dir}: " + ", ".join(sorted(path.name for path in args.work_dir.iterdir())))
    if args.write_docs:
        report.write_docs(DOCS, sections)
        for device in curves:
            shutil.copy(args.work_dir / PLOTS[device], DOCS.parent)


def _write(args, results: list[Result], machines: dict[str, str], when: str, curves: dict | None = None):
    """Write results.json and table.md. Returns {device: its section of table.md}."""
    sections = {}
    for device in report.TITLES:
        lines = [result for result in results if result.work.device == device]
        plot = PLOTS[device] if curves and device in curves else ""
        sections[device] = report.section(device, lines, machines.get(device, ""), when, args.quick, plot)
    (args.work_dir / "table.md").write_text("\n".join(sections.values()))
    lines = [
        dict(
            section=result.work.section,
            work=result.work.name,
            device=result.work.device,
            unit=result.work.unit,
            bars=result.work.bars,
            samples=result.samples,
            not_measured=result.reason,
        )
        for result in results
    ]
    content = dict(
        machines=machines, run=when, quick=args.quick, threads=torch.get_num_threads(), lines=lines, growth=curves or {}
    )
    (args.work_dir / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    return sections


def _progress(begin: float, text: str) -> None:
    print(f"[{time.time() - begin:4.0f} s] {text}", flush=True)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or [""]
    {"gpu": gpu.main, "load": load.main}[name](arguments) if name in ("gpu", "load") else main(sys.argv[1:])
