#!/usr/bin/env python
"""Train and evaluate the models of detectron2's LazyConfigs (``.py``), with or without FFC.

Takes the arguments and the configs of detectron2's ``tools/lazyconfig_train_net.py`` (overrides are ``key=value``).
The differences are those of ``tools/train_net.py``: ``train.device`` cuda becomes cpu on a machine without CUDA,
``--eval-only`` refuses a checkpoint that lacks weights of the model and writes ``train.output_dir/results.json``, and
missing weights or mixed precision away from CUDA are refused before any data is read. Nothing in weights runs. A
LazyConfig is a program: run none that you would not run as a script. Dumped as .yaml it still is one, since
``_target_`` calls what it names, but does not look like one: such a file is refused.
"""

import json
import logging
import os
import signal

from detectron2.config import LazyConfig, instantiate
from detectron2.engine import (
    AMPTrainer,
    SimpleTrainer,
    default_argument_parser,
    default_setup,
    default_writers,
    hooks,
    launch,
)
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ffc_dense.detection import EvalCheckpointer, SafeCheckpointer
from ffc_dense.detection.startup import check_amp, check_weights, choose_device
from ffc_dense.safe_files import UnsafeFileError, add_weights_only_argument


def check_is_program(args) -> None:
    """Refuse what would run code without being seen to.

    Raises:
        UnsafeFileError: the config is not a .py file, or ``--weights-only`` was given.
    """
    if getattr(args, "weights_only", False):
        raise UnsafeFileError("--weights-only: every LazyConfig is a program; use train_net.py and the .yaml twin")
    if not args.config_file.endswith(".py"):
        raise UnsafeFileError(
            f"--config-file {args.config_file}: expected a LazyConfig, a .py file. A .yaml file of detectron2's keys "
            "goes to train_net.py; a LazyConfig dumped as .yaml is a program in disguise: give the .py file"
        )


def setup(args) -> DictConfig:
    check_is_program(args)
    cfg = LazyConfig.apply_overrides(LazyConfig.load(args.config_file), args.opts)
    train = cfg.train
    wanted = train.device
    train.device = choose_device(wanted, "train.device", args.num_gpus * args.num_machines)
    check_amp(train.amp.enabled and not args.eval_only, "train.amp.enabled", train.device)
    check_weights(
        train.init_checkpoint,
        "train.init_checkpoint",
        output_dir=train.output_dir,
        resume=args.resume,
        needed=args.eval_only,
    )
    default_setup(cfg, args)
    if train.device != wanted:
        logging.getLogger("detectron2").warning("train.device: no CUDA on this machine, running on the CPU")
    return cfg


def build_model(cfg: DictConfig) -> nn.Module:
    model = instantiate(cfg.model).to(cfg.train.device)
    logging.getLogger("detectron2").info("Model:\n%s", model)
    return model


def test(cfg: DictConfig, model: nn.Module) -> dict:
    """{task: {metric: value}} of ``cfg.dataloader.test``; empty without ``cfg.dataloader.evaluator``."""
    if "evaluator" not in cfg.dataloader:
        return {}
    loader, evaluator = instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator)
    results = inference_on_dataset(model, loader, evaluator)
    print_csv_format(results)
    return results


def evaluate(cfg: DictConfig, resume: bool) -> dict:
    model = build_model(cfg)
    EvalCheckpointer(model, save_dir=cfg.train.output_dir).resume_or_load(cfg.train.init_checkpoint, resume=resume)
    results = test(cfg, model)
    if comm.is_main_process():
        with open(os.path.join(cfg.train.output_dir, "results.json"), "w") as file:
            json.dump(results, file, indent=1)
    return results


def train(cfg: DictConfig, resume: bool) -> None:
    model = build_model(cfg)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    loader = instantiate(cfg.dataloader.train)
    # DistributedDataParallel refuses device_ids for a model on the CPU.
    where = {"device_ids": None} if cfg.train.device == "cpu" else {}
    model = create_ddp_model(model, **cfg.train.ddp, **where)
    trainer = (AMPTrainer if cfg.train.amp.enabled else SimpleTrainer)(model, loader, optimizer)
    checkpointer = SafeCheckpointer(model, cfg.train.output_dir, optimizer=optimizer, trainer=trainer)
    first = [hooks.IterationTimer(), hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier))]
    evaluation = hooks.EvalHook(cfg.train.eval_period, lambda: test(cfg, model))
    if comm.is_main_process():
        writers = default_writers(cfg.train.output_dir, cfg.train.max_iter)
        saving = hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer)
        trainer.register_hooks([*first, saving, evaluation, hooks.PeriodicWriter(writers, cfg.train.log_period)])
    else:
        trainer.register_hooks([*first, evaluation])
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    resumed = resume and checkpointer.has_checkpoint()
    trainer.train(trainer.iter + 1 if resumed else 0, cfg.train.max_iter)


def main(args):
    cfg = setup(args)
    return evaluate(cfg, args.resume) if args.eval_only else train(cfg, args.resume)


if __name__ == "__main__":
    parser = default_argument_parser()
    add_weights_only_argument(parser)
    args = parser.parse_args()
    # launch() ends its ranks with SIGINT when this process dies, which a shell makes its background jobs ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
