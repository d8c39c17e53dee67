"""Run mmseg's or mmpretrain's own train.py or test.py, from the installed package or from the clone it comes from.

    python tools/mmseg_tool.py [--device cuda|cpu] [--debug] [--weights-only] train|test CONFIG ARGS...

CONFIG decides whose script it is. Identical to ``python MMSEG/tools/train.py CONFIG ARGS...``, except for five things:

- ``train --resume`` goes on from the last checkpoint in the work directory, and starts from the config's ``load_from``
  while there is none. mmengine alone resumes from ``load_from`` every time when one is given: a job that is always
  started with ``--resume`` would lose its progress at every restart.
- ``--device cpu``, under torchrun, joins the processes with gloo. mmengine's launchers need a CUDA device.
- A training that would write where another one does, or begin in an old one's folder without ``--resume``, is refused.
  A test leaves the config that a training wrote into the folder.
- What is wrong with the config, before the first iteration, is one message and exit code 2; ``--debug`` shows the
  traceback. Mistakes that mmengine passes over are refused: numbers of classes that differ, misspelt top-level keys.
- Nothing in checkpoints and ``.yaml`` configs runs, where mmengine unpickles and calls; ``--weights-only`` also refuses
  ``.py`` configs, which are programs (SECURITY.md).
"""

import argparse
import importlib.util
import os
import re
import runpy
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from ...frameworks import MMPRETRAIN, MMSEG, Framework, recognise

# DistributedDataParallel refuses device_ids for a model on the CPU; mmengine gives them unless the config does.
DDP_ON_CPU = [
    "model_wrapper_cfg.type=MMDistributedDataParallel",
    "model_wrapper_cfg.broadcast_buffers=False",
    "model_wrapper_cfg.device_ids=None",
]


def framework_of(args: list[str]) -> Framework:
    """The framework of the first argument that is a config file; mmseg's without one."""
    configs = (arg for arg in args if arg.endswith((".py", ".yaml", ".yml", ".json")) and Path(arg).is_file())
    framework = next((recognise(config)[0] for config in configs), MMSEG)
    return framework if framework.scope else MMSEG  # which says what is wrong with another's config


def find_tool(name: str, framework: Framework = MMSEG) -> str:
    """The path of a framework's ``train.py`` or ``test.py``.

    Raises:
        FileNotFoundError: the framework is not installed, or came without its tools.
    """
    spec = importlib.util.find_spec(framework.package)
    if spec is None:
        raise FileNotFoundError(f"{framework.package} is not installed: {framework.install}")
    package = Path(spec.submodule_search_locations[0])
    for folder in (package / ".mim" / "tools", package.parent / "tools"):
        if (folder / f"{name}.py").is_file():
            return str(folder / f"{name}.py")
    raise FileNotFoundError(
        f"{framework.package} in {package} came without tools/{name}.py: install its wheel, or a clone with pip "
        "install -e"
    )


def parse_tool_args(args: list[str], tool: str = "train") -> argparse.Namespace:
    """The arguments of a framework's ``train.py`` or ``test.py``, as far as they matter here."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("config")
    if tool == "test":
        parser.add_argument("checkpoint")
    parser.add_argument("--work-dir")
    parser.add_argument("--launcher")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    return parser.parse_known_args(args)[0]


def checked_config(args: list[str], tool: str, weights_only: bool = False):
    """The parsed arguments, and the config with its overrides, after what would fail late, or not at all, is refused.

    Raises:
        UserError: the message names the key or file.
    """

    from ffc_dense.errors import UserError
    from ffc_dense.errors.reporting import reading_input

    # safe_loading replaces mmengine's loaders, before the config is read.
    from ffc_dense.openmmlab.inputs import config_checks, config_errors, data_configs, safe_loading
    from ffc_dense.openmmlab.inputs.checkpoint import classes_of
    from ffc_dense.openmmlab.inputs.read_config import read_config
    from ffc_dense.reliability.fitting import refuse_other_classes
    from ffc_dense.safe_files import without_query

    with reading_input(lambda error: f"--cfg-options: expected KEY=VALUE pairs, got {' '.join(args)}"):
        known = parse_tool_args(args, tool)
    if weights_only:
        with reading_input(partial(config_errors.explain_config, path=known.config)):
            data_configs.check_config_files(known.config)
        data_configs.forbid_imports_by_name()
    cfg = read_config(known.config, known.cfg_options, tool == "train")
    if weights_only:
        data_configs.check_values(cfg, known.config, weights=True)
        safe_loading.forbid_pickled_checkpoints(work_dir_of(known, cfg))
    if "--tta" in args and cfg.get("default_scope") == MMPRETRAIN.scope:
        for key in (key for key in known.cfg_options or {} if re.match(r"model\.(?!module\.)", key)):
            raise UserError(
                f"--cfg-options {key}: with --tta mmpretrain's test.py has the model under model.module; write "
                f"{key.replace('model.', 'model.module.', 1)}"
            )
    if tool == "test" and "://" not in known.checkpoint and not Path(without_query(known.checkpoint)).is_file():
        raise UserError(f"{known.checkpoint}: there is no such checkpoint; name the .pth file that a training wrote")
    if tool == "test" and "://" not in known.checkpoint:
        trained = classes_of(known.checkpoint)
        for name, dataset in config_checks.datasets_of(cfg, ("test_dataloader",)):
            tested, remedy = config_checks.metainfo_of(dataset).get("classes") or (), "test with the training's order"
            refuse_other_classes(known.checkpoint, trained, [str(each) for each in tested], name, remedy)
    weights = cfg.get("load_from") or ""
    if tool == "train" and not known.resume and weights and "://" not in weights:
        if not Path(without_query(weights)).expanduser().is_file():
            raise UserError(f"load_from: there is no file {weights}; give the path of a checkpoint, or None")
    loaders = ("train_dataloader", "val_dataloader") if tool == "train" else ("test_dataloader",)
    config_checks.check_folders(cfg, loaders)
    return known, cfg


def work_dir_of(known: argparse.Namespace, cfg) -> str:
    return known.work_dir or cfg.get("work_dir") or os.path.join("work_dirs", Path(known.config).stem)


def has_checkpoint(work_dir: str, cfg) -> bool:
    """Whether a run in ``work_dir`` saved something. Which file is resumed is up to the checkpoint hook."""
    from ffc_dense.openmmlab.inputs.config_errors import type_name
    from ffc_dense.openmmlab.training.resuming import POINTER, saved_checkpoints

    hook = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    if Path(work_dir, POINTER).is_file() or type_name(hook) != "AtomicCheckpointHook":
        return Path(work_dir, POINTER).is_file()
    folder = Path(hook["out_dir"], Path(work_dir).name) if hook.get("out_dir") else Path(work_dir)
    return bool(saved_checkpoints(folder, _template(cfg)))


def _template(cfg) -> str:
    """The name of a run's checkpoints, ``{}`` for the number of iterations or epochs."""
    hook = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    return hook.get("filename_tmpl") or ("epoch_{}.pth" if hook.get("by_epoch", True) else "iter_{}.pth")


def claim(known: argparse.Namespace, cfg) -> None:
    """Lock the run's folder for this training, in the first process of a job (:func:`.claim_run_folder`)."""
    from ffc_dense.errors.reporting import process_rank
    from ffc_dense.reliability.run_folder import claim_run_folder

    if process_rank() == 0:
        resumes = known.resume or bool(cfg.get("resume"))
        claim_run_folder(
            work_dir_of(known, cfg), "--work-dir", resumes=resumes, checkpoints=_template(cfg).format("[0-9]*")
        )


def resume_or_load(args: list[str], known: argparse.Namespace, cfg) -> list[str]:
    """``train.py``'s arguments with ``--resume`` -> those for what there is: a checkpoint of this run, or none yet.

    Args:
        known, cfg: what ``args`` say, as :func:`checked_config` returns them.
    """
    if "--resume" not in args or cfg.get("load_from") is None or _resumed_file(args):
        return args
    work_dir = work_dir_of(known, cfg)
    if not has_checkpoint(work_dir, cfg):
        print(f"mmseg_tool: no checkpoint in {work_dir} yet, starting from load_from={cfg.load_from}")
        return [arg for arg in args if arg != "--resume"]
    return [*args, "--cfg-options", "load_from=None"]


def _resumed_file(args: list[str]) -> str:
    """PATH of mmpretrain's ``--resume PATH``; '' of a ``--resume`` alone, which is all that mmseg knows."""
    after = args[args.index("--resume") + 1 :][:1]
    return after[0] if after and after[0].endswith((".pth", ".safetensors")) else ""


def why_not_joined(device: str, config: str, cfg) -> str:
    """Why processes that torchrun started cannot work together here; '' if they can."""
    import torch

    if device == "cuda":
        found = torch.cuda.is_available()
        return "" if found else "there is no CUDA device; --device cpu (DEVICE=cpu) joins CPU processes"
    if "'SyncBN'" in str(cfg.get("model")):
        return (
            f"{config} has SyncBN, which processes joined on CPUs cannot run. Use BN, or one process without a "
            "launcher (python tools/mmseg_tool.py --device cpu train CONFIG), where train.py makes it BN"
        )
    return ""


def join_on_cpu() -> None:
    """Join the processes that torchrun started, before mmengine would do it over CUDA devices."""
    import torch.distributed

    torch.distributed.init_process_group("gloo")


def run(tool: str, args: list[str], cfg, keeping: AbstractContextManager = nullcontext()) -> None:  # noqa: B008
    """Run a framework's script. ``cfg`` is its config, None when it is only asked for help.

    Args:
        keeping: entered while the script runs, see :mod:`.run_config`.
    """
    from ffc_dense.errors.reporting import reading_input
    from ffc_dense.openmmlab.inputs.config_errors import explain_build, in_a_loop

    own, sys.argv = sys.argv, [tool, *args]
    try:
        with reading_input(partial(explain_build, cfg=cfg), unless=in_a_loop), keeping:
            runpy.run_path(tool, run_name="__main__")
    finally:
        sys.argv = own  # which names the program in messages


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Run mmseg's or mmpretrain's own train.py or test.py.",
        epilog="ARGS: CONFIG, and see train.py --help",
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: join processes with gloo")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error in the input")
    parser.add_argument("--weights-only", action="store_true", help="refuse what can hold a program (SECURITY.md)")
    parser.add_argument("tool", choices=("train", "test"))
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS")
    known = parser.parse_args(argv)
    debug = known.debug or "--debug" in known.args
    known.weights_only |= "--weights-only" in known.args
    known.args = [arg for arg in known.args if arg not in ("--debug", "--weights-only")]
    try:
        tool = find_tool(known.tool, framework_of(known.args))
    except FileNotFoundError as error:
        parser.error(str(error))

    from ffc_dense.errors.reporting import recording_exit_code, reporting  # after find_tool, which says what to install

    with recording_exit_code(), reporting("mmseg_tool.py", debug):
        start(parser, tool, known)


def start(parser: argparse.ArgumentParser, tool: str, known: argparse.Namespace) -> None:
    if "-h" in known.args or "--help" in known.args:
        run(tool, known.args, None)
        return
    parsed, cfg = checked_config(known.args, known.tool, known.weights_only)
    from .run_config import left_by_refusals, left_by_tests

    args, keeping = known.args, left_by_tests()
    if known.tool == "train":
        keeping = left_by_refusals(Path(work_dir_of(parsed, cfg), Path(parsed.config).name))
        claim(parsed, cfg)
        args = resume_or_load(known.args, parsed, cfg)
    joined = "WORLD_SIZE" in os.environ  # by torchrun
    problem = why_not_joined(known.device, parsed.config, cfg) if joined else ""
    if problem:
        parser.error(problem)
    if known.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        if joined:
            join_on_cpu()
            args = [*args, "--cfg-options", *DDP_ON_CPU]
    run(tool, args, cfg, keeping)


def command(argv: list[str] | None = None) -> None:
    main(argv)
