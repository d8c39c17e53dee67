"""The machine and the commit that were measured."""

import os
import platform
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import torch

from .memory import ROOT


def machine(device: str) -> str:
    """One line: processor, threads, versions, and how busy the machine was."""
    parts = []
    if device == "cuda":
        parts += [torch.cuda.get_device_name(), f"CUDA {torch.version.cuda}"]
        if find_spec("triton"):
            import triton

            parts.append(f"triton {triton.__version__}")
    parts.append(f"{_processor()}, {_cores()} cores")
    if device == "cpu":
        parts.append(f"{torch.get_num_threads()} threads")
    parts += [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    parts.append(f"{platform.system()} {platform.machine()}, load average {os.getloadavg()[0]:.1f} at the start")
    return ", ".join(parts)


def revision() -> str:
    """The commit, with '-dirty' if files differ from it; '' outside a clone."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
