"""Train and evaluate the models of detectron2's LazyConfigs (``.py``), with or without FFC.

Takes the arguments and the configs of detectron2's ``tools/lazyconfig_train_net.py`` (overrides are ``key=value``).
The differences are those of ``tools/train_net.py``: ``train.device`` cuda becomes cpu on a machine without CUDA,
``--eval-only`` refuses a checkpoint that lacks weights of the model and writes ``train.output_dir/results.json``, and
missing weights or mixed precision away from CUDA are refused before any data is read, and the datasets are checked
before the first iteration. A wrong config is one message and exit code 2; ``--debug`` shows the traceback. Nothing in
weights runs. A LazyConfig is a program: run none that you would not run as a script. Dumped as .yaml it still is one,
since ``_target_`` calls what it names, but does not look like one: such a file is refused.
"""

import logging
import os
from argparse import Namespace
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from detectron2.engine import default_writers, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ffc_dense.detection import EvalCheckpointer
from ffc_dense.detection.commands.running import argument_parser, run
from ffc_dense.detection.inputs.checkpoint import check_class_order
from ffc_dense.detection.inputs.config_checks import SPLITS, lazy_datasets, lazy_num_classes
from ffc_dense.detection.inputs.config_errors import explain_lazy
from ffc_dense.detection.inputs.dataset_check import add_dataset_check_argument, check_datasets
from ffc_dense.detection.inputs.datasets import register_own
from ffc_dense.detection.inputs.lazy import build, build_model, read_lazy_config
from ffc_dense.detection.inputs.output_folder import refused_resumption_restored, set_up, with_output_folder
from ffc_dense.detection.inputs.startup import check_amp, check_weights, choose_device
from ffc_dense.detection.installing import create_ddp_model
from ffc_dense.detection.training.atomic_checkpoint import AtomicCheckpointer, KeepNewest
from ffc_dense.detection.training.data_stream import ContinueDataStream
from ffc_dense.detection.training.finite_loss import FiniteLossAMPTrainer, FiniteLossTrainer
from ffc_dense.detection.training.preemption import StopOnSigterm
from ffc_dense.detection.training.scalars import OutputScalarsHook
from ffc_dense.detection.training.trainer import errors_without_traceback, training_class_names
from ffc_dense.errors.reporting import reading_input
from ffc_dense.method.reductions import STOCK, ffc_layers
from ffc_dense.reliability.random_state import kept_random_state
from ffc_dense.reliability.run_folder import claim_run_folder
from ffc_dense.text import write_json


def setup(args) -> DictConfig:
    register_own(getattr(args, "datasets", []))
    splits = ("TEST",) if args.eval_only else SPLITS
    cfg = read_lazy_config(args.config_file, args.opts, splits, weights_only=getattr(args, "weights_only", False))
    with reading_input(partial(explain_lazy, cfg=cfg)):
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
        if not args.eval_only:
            mode = getattr(args, "dataset_check", "error")
            check_datasets(*lazy_datasets(cfg), *lazy_num_classes(cfg), mode)
            if comm.is_main_process():
                claim_run_folder(train.output_dir, "train.output_dir", resumes=args.resume, checkpoints="model_*.pth")
        args.log_folder = set_up(cfg, args)
    if train.device != wanted:
        logging.getLogger("detectron2").warning("train.device: no CUDA on this machine, running on the CPU")
    return cfg


def test(cfg: DictConfig, model: nn.Module) -> dict:
    """{task: {metric: value}} of ``cfg.dataloader.test``; empty without ``cfg.dataloader.evaluator``."""
    if "evaluator" not in cfg.dataloader:
        return {}
    loader, evaluator = build(cfg, "dataloader.test"), build(cfg, "dataloader.evaluator")
    results = inference_on_dataset(model, loader, evaluator)
    print_csv_format(results)
    return results


def evaluate(cfg: DictConfig, resume: bool, folder: str = "") -> dict:
    model = build_model(cfg)
    checkpointer = EvalCheckpointer(model, cfg.train.output_dir, weights_key="train.init_checkpoint")
    with reading_input():
        content = checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
        check_class_order(content, cfg.train.init_checkpoint, lazy_datasets(cfg)[1], "dataloader.test.dataset.names")
    results = test(with_output_folder(cfg, folder or cfg.train.output_dir), model)
    if comm.is_main_process():
        last = resume and checkpointer.has_checkpoint()
        reductions = {layer.test_reduce for layer in ffc_layers(model)} or {STOCK}
        names = lazy_datasets(cfg)[1]
        evaluated = {
            "weights": checkpointer.get_checkpoint_file() if last else cfg.train.init_checkpoint,
            "reduction": "+".join(sorted(reductions)),
            "dataset": names[0] if len(names) == 1 else None,
        }
        write_json({**results, "evaluated": evaluated}, os.path.join(cfg.train.output_dir, "results.json"))
    return results


def train(cfg: DictConfig, resume: bool, refused: AbstractContextManager = nullcontext()) -> None:  # noqa: B008
    """``refused``: entered while the checkpoint is read, see :func:`refused_resumption_restored`."""
    model = build_model(cfg)
    cfg.optimizer.params.model = model
    optimizer = build(cfg, "optimizer")
    loader = build(cfg, "dataloader.train")
    model = create_ddp_model(model, **cfg.train.ddp)
    kind = FiniteLossAMPTrainer if cfg.train.amp.enabled else FiniteLossTrainer
    trainer = kind(model, loader, optimizer, **cfg.train.get("non_finite_loss", {}))
    checkpointer = AtomicCheckpointer(model, cfg.train.output_dir, optimizer=optimizer, trainer=trainer)
    checkpointer.class_names = training_class_names(lazy_datasets(cfg)[0], lazy_num_classes(cfg)[0])
    first = [hooks.IterationTimer(), hooks.LRScheduler(scheduler=build(cfg, "lr_multiplier"))]
    scalars = OutputScalarsHook(model, cfg.train.get("ffc_scalars_period", 100))
    last = [ContinueDataStream(), StopOnSigterm(checkpointer), scalars]
    evaluation = hooks.EvalHook(cfg.train.eval_period, kept_random_state()(lambda: test(cfg, model)))
    if comm.is_main_process():
        writers = default_writers(cfg.train.output_dir, cfg.train.max_iter)
        saving = KeepNewest(checkpointer, **cfg.train.checkpointer)
        writing = hooks.PeriodicWriter(writers, cfg.train.log_period)
        trainer.register_hooks([*first, saving, evaluation, writing, *last])
    else:
        trainer.register_hooks([*first, evaluation, *last])
    with refused, reading_input():
        checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    resumed = resume and checkpointer.has_checkpoint()
    with errors_without_traceback():
        trainer.train(trainer.iter + 1 if resumed else 0, cfg.train.max_iter)


def main(args):
    cfg = setup(args)
    if args.eval_only:
        return evaluate(cfg, args.resume, args.log_folder)
    return train(cfg, args.resume, refused_resumption_restored(args))


def parse_args(argv: list[str] | None = None) -> Namespace:
    parser = argument_parser()
    add_dataset_check_argument(parser)
    return parser.parse_args(argv)


def command(argv: list[str] | None = None) -> None:
    run(main, "lazyconfig_train_net.py", parse_args(argv))
