"""What the evaluations of every framework on mmengine share: arguments, config, one pass, the file with the scores."""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ... import text
from ...errors import UserError
from ...errors.quiet import add_verbose_argument, framework_output
from ...errors.reporting import add_debug_argument, reading_input
from ...frameworks import Framework
from ...method.reductions import choose_reductions
from ...runs.files import within_run
from ...safe_files import add_weights_only_argument, require_safetensors, without_query
from ..inputs import safe_loading
from ..inputs.checkpoint import load_for_evaluation
from ..inputs.config_checks import check_framework
from ..inputs.config_errors import explain_build, in_a_loop
from ..inputs.data_configs import check_config_files, check_values, forbid_imports_by_name
from ..inputs.read_config import read_config
from .run_config import left_by_tests
from .scripts import join_on_cpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help=".pth or .safetensors file; ?sha256=HEX may follow")
    parser.add_argument(
        "--reduce",
        type=lambda names: names.split(","),
        default=[],
        metavar="NAMES",
        help="vote, mean, out1 ... out7, several with commas, or all; the config's own by default. Not "
        "for stock models",
    )
    parser.add_argument(
        "--ensemble",
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="more checkpoints of this config: the outputs of all vote together, or are averaged",
    )
    parser.add_argument(
        "--output",
        "--work-dir",
        dest="work_dir",
        metavar="DIR",
        help="default: eval_CHECKPOINT beside the checkpoint; of an ensemble of N, ensemble_N_CHECKPOINT",
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value overrides of the config")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: join processes with gloo")
    add_weights_only_argument(parser)
    add_verbose_argument(parser)
    add_debug_argument(parser)
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def parsed(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    with reading_input(lambda error: f"--cfg-options: expected KEY=VALUE pairs ({error})"):
        args = parser.parse_args(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def read_test_config(args: argparse.Namespace, framework: Framework) -> Config:
    """The config of ``framework`` for a test of ``args.checkpoint``, which is loaded later, with a check.

    Raises:
        UserError: a file, an option or a value is wrong, or there is no test set.
    """
    if args.weights_only:
        check_config_files(args.config)
        for path in (args.checkpoint, *args.ensemble):
            require_safetensors(path, "checkpoint")
        safe_loading.forbid_pickled_checkpoints()
        forbid_imports_by_name()
    cfg = read_config(args.config, args.cfg_options)
    check_framework(cfg, framework)
    if args.weights_only:
        check_values(cfg, args.config, weights=True)
    if "test_dataloader" not in cfg:
        raise UserError(f"{args.config}: test_dataloader: the config has none, so there is nothing to test on")
    cfg.launcher = args.launcher
    if args.device == "cpu" and args.launcher != "none":
        cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None)
    if not args.work_dir and "://" in args.checkpoint:
        raise UserError(f"--output: name a folder for the results of {args.checkpoint}")
    checkpoint = Path(without_query(args.checkpoint))
    kind = f"ensemble_{1 + len(args.ensemble)}" if args.ensemble else "eval"
    cfg.work_dir = args.work_dir or str(checkpoint.parent / f"{kind}_{checkpoint.stem}")
    cfg.load_from, cfg.resume = None, False
    return cfg


def choose_device(args: argparse.Namespace, prog: str) -> None:
    """Hide CUDA and join the processes where the CPU is asked for; several processes never fall back to it."""
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        if args.launcher != "none":
            join_on_cpu()
    elif not torch.cuda.is_available():
        if args.launcher != "none":
            raise UserError("--launcher joins processes on CUDA devices, and there is none; add --device cpu")
        print(f"{prog}: no CUDA on this machine, running on the CPU", file=sys.stderr)


def run(
    args: argparse.Namespace,
    config_of: Callable[[argparse.Namespace], Config],
    prog: str,
    check: Callable[[Runner, list[str]], None] = lambda runner, checkpoints: None,
) -> tuple[Config, dict]:
    """Test ``args.checkpoint``, with those of ``args.ensemble`` if there are any.

    Args:
        config_of: from the arguments to the config, whose model has ``members`` if it is an ensemble.
        prog: the name before a message.
        check: called with the runner and the checkpoints before the test; may raise a UserError.

    Returns:
        The config, and {'REDUCTION/METRIC': value}.
    """
    with framework_output(args.verbose), reading_input():
        choose_device(args, prog)
        cfg = config_of(args)
    checkpoints = [args.checkpoint, *args.ensemble]
    with framework_output(args.verbose), reading_input(partial(explain_build, cfg=cfg)), left_by_tests():
        runner = Runner.from_cfg(cfg)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        members = model.members if args.ensemble else [model]
        for member, path in zip(members, checkpoints, strict=True):
            load_for_evaluation(member, path)
        choose_reductions(runner.model, args.reduce)
        check(runner, checkpoints)
    with framework_output(args.verbose), reading_input(partial(explain_build, cfg=cfg), unless=in_a_loop):
        return cfg, runner.test()


def nested(metrics: dict[str, float]) -> dict:
    """{'vote/cityscapesscripts/IoU.road': x} -> {'vote': {'cityscapesscripts': {'IoU': {'road': x}}}}; nan -> None."""
    tree: dict = {}
    for path, value in metrics.items():
        *parents, leaf = path.split("/")
        *kind, name = leaf.split(".", 1)
        node = tree
        for key in (*parents, *kind):
            node = node.setdefault(key, {})
        node[name] = value.tolist() if hasattr(value, "tolist") else value  # of numpy and torch
    return text.without_nan(tree)


def write_report(args: argparse.Namespace, cfg: Config, framework: Framework, results: dict) -> Path:
    """Write the scores; returns their file, ``reductions.json`` or ``ensemble.json``."""
    report = {"framework": framework.name, "config": args.config, "weights": args.checkpoint}
    report |= {**within_run(args.checkpoint, cfg.work_dir), "results": results}
    path = Path(cfg.work_dir, "reductions.json")
    if args.ensemble:  # no score of a single training: tools/results_table.py leaves it
        report["weights"], path = [args.checkpoint, *args.ensemble], path.with_name("ensemble.json")
    text.write_json(report, path)
    return path
