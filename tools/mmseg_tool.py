#!/usr/bin/env python
"""Run mmseg's own train.py or test.py, from the installed package or from the clone that it was installed from.

    python tools/mmseg_tool.py [--device cuda|cpu] train|test ARGS...

Identical to ``python MMSEG/tools/train.py ARGS...``, except for two things:

- ``train --resume`` goes on from the last checkpoint in the work directory, and starts from the config's ``load_from``
  while there is none. mmengine alone resumes from ``load_from`` every time when one is given: a job that is always
  started with ``--resume`` would lose its progress at every restart.
- ``--device cpu``, under torchrun, joins the processes with gloo. mmengine's launchers need a CUDA device.
"""

import argparse
import importlib.util
import os
import runpy
import sys
from pathlib import Path

# DistributedDataParallel refuses device_ids for a model on the CPU; mmengine gives them unless the config does.
DDP_ON_CPU = [
    "model_wrapper_cfg.type=MMDistributedDataParallel",
    "model_wrapper_cfg.broadcast_buffers=False",
    "model_wrapper_cfg.device_ids=None",
]


def find_tool(name: str) -> str:
    """The path of mmseg's ``train.py`` or ``test.py``.

    Raises:
        FileNotFoundError: mmseg is not installed, or came without its tools.
    """
    spec = importlib.util.find_spec("mmseg")
    if spec is None:
        raise FileNotFoundError("mmseg is not installed: pip install 'ffc_dense[segmentation]'")
    package = Path(spec.submodule_search_locations[0])
    for folder in (package / ".mim" / "tools", package.parent / "tools"):
        if (folder / f"{name}.py").is_file():
            return str(folder / f"{name}.py")
    raise FileNotFoundError(
        f"mmseg in {package} came without tools/{name}.py: install its wheel, or a clone with pip install -e"
    )


def config_of(args: list[str]):
    """The parsed arguments of mmseg's ``train.py`` or ``test.py``, and the config with its overrides."""
    from mmengine.config import Config, DictAction

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("config")
    parser.add_argument("--work-dir")
    parser.add_argument("--launcher")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    known, _ = parser.parse_known_args(args)
    cfg = Config.fromfile(known.config)
    cfg.merge_from_dict(known.cfg_options or {})
    return known, cfg


def resume_or_load(args: list[str]) -> list[str]:
    """``train.py``'s arguments with ``--resume`` -> those for what there is: a checkpoint of this run, or none yet."""
    if "--resume" not in args:
        return args
    from mmengine.runner import find_latest_checkpoint

    known, cfg = config_of(args)
    if cfg.get("load_from") is None:
        return args
    work_dir = known.work_dir or cfg.get("work_dir") or os.path.join("work_dirs", Path(known.config).stem)
    if find_latest_checkpoint(work_dir) is None:
        print(f"mmseg_tool: no checkpoint in {work_dir} yet, starting from load_from={cfg.load_from}")
        return [arg for arg in args if arg != "--resume"]
    return [*args, "--cfg-options", "load_from=None"]


def why_not_joined(device: str, args: list[str]) -> str:
    """Why processes that torchrun started cannot work together here; '' if they can."""
    import torch

    if device == "cuda":
        found = torch.cuda.is_available()
        return "" if found else "there is no CUDA device; --device cpu (DEVICE=cpu) joins CPU processes"
    known, cfg = config_of(args)
    if "'SyncBN'" in str(cfg.get("model")):
        return (
            f"{known.config} has SyncBN, which processes joined on CPUs cannot run. Use BN, or one process without a "
            "launcher (python tools/mmseg_tool.py --device cpu train CONFIG), where mmseg's train.py makes it BN"
        )
    return ""


def join_on_cpu() -> None:
    """Join the processes that torchrun started, before mmengine would do it over CUDA devices."""
    import torch.distributed

    torch.distributed.init_process_group("gloo")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Run mmseg's own train.py or test.py.", epilog="ARGS: see mmseg's train.py --help"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: join processes with gloo")
    parser.add_argument("tool", choices=("train", "test"))
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS")
    known = parser.parse_args()
    try:
        tool = find_tool(known.tool)
    except FileNotFoundError as error:
        parser.error(str(error))
    args = resume_or_load(known.args) if known.tool == "train" else known.args
    joined = "WORLD_SIZE" in os.environ  # by torchrun
    problem = why_not_joined(known.device, known.args) if joined else ""
    if problem:
        parser.error(problem)
    if known.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        if joined:
            join_on_cpu()
            args = [*args, "--cfg-options", *DDP_ON_CPU]
    sys.argv = [tool, *args]
    runpy.run_path(tool, run_name="__main__")


if __name__ == "__main__":
    main()
